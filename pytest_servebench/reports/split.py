"""Where the time of a request goes, as far as client and server tell (pure).

All are means per request of one measured window: what the client saw from sending to the whole reply, and
of it what the server's own counters say. What is left of the first is everything that no counter has: the
network, parsing and copying, and, where the server decodes images before it counts, the preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from pytest_servebench.arrivals import CLOSED
from pytest_servebench.comparison.replicates import Record
from pytest_servebench.plan import Payload
from pytest_servebench.reports.numbers import number_of, three_digits
from pytest_servebench.statistics.histogram import Histogram

QUEUE, COMPUTE, TRANSPORT = "queue", "compute", "transport"
BOTH = "transport and preprocessing"
WITHIN_COMPUTE: Mapping[str, bool] = MappingProxyType({"fastapi": False, "triton": False, "torchserve": True})
"""Whether images are preprocessed within what is counted as the computation; of other stacks nobody knows."""

BUSY = 0.8
"""Share of the window from which on executions fill it."""
FEWEST_EXECUTIONS = 5
"""Below, an execution across an edge of the window is too much of it."""
MOST_EXCESS = 0.1
"""Share by which a server may tell more time than the client saw, and still be believed: requests in flight
at an edge of the window are in the counters of one side only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The parts of the time from sending to reply, in milliseconds, means per request."""

    service_ms: float
    queue_ms: float
    compute_ms: float
    """The execution that answered: of TorchServe the handler, with the preprocessing in it."""
    late_ms: float = 0.0
    """How late the client sent, of an open loop; before the service time begins."""
    busy: tuple[float, float] | None = None
    """Between which shares of the window executions were under way; above 1 where several were at once."""

    @property
    def rest_ms(self) -> float:
        """What no counter has."""
        return max(0.0, self.service_ms - self.queue_ms - self.compute_ms)

    @property
    def is_full(self) -> bool:
        """Whether executions surely fill the window."""
        return self.busy is not None and self.busy[0] >= BUSY

    @property
    def leaves_room(self) -> bool:
        """Whether they surely do not."""
        return self.busy is not None and self.busy[1] < BUSY


def around_of(stack: str, payload: str) -> str:
    """Return what that part of the time is which no counter has.

    Of tensors there is nothing to preprocess. Encoded images are preprocessed in it, unless the server does
    that within what it counts as its computation.
    """
    return BOTH if payload == Payload.JPEG and not WITHIN_COMPUTE.get(stack) else TRANSPORT


def largest_part(split: Split, stack: str, payload: str) -> str:
    """Return which part of the time is the largest; a queue behind a busy engine is the computation's."""
    around = around_of(stack, payload)
    parts = {QUEUE: split.queue_ms, COMPUTE: split.compute_ms, around: split.rest_ms}
    largest = max(parts, key=lambda name: parts[name])
    return COMPUTE if largest == QUEUE and split.is_full else largest


def told_split(split: Split, stack: str, payload: str) -> str:
    """Return the split in words, each part with its share."""
    computes = COMPUTE
    if payload == Payload.JPEG and WITHIN_COMPUTE.get(stack):
        computes = f"{COMPUTE} and preprocessing together"
    around = around_of(stack, payload)
    parts = ((QUEUE, split.queue_ms), (computes, split.compute_ms), (around, split.rest_ms))
    told = ", ".join(f"{name} {three_digits(ms)} ms ({ms / split.service_ms:.0%})" for name, ms in parts)
    late = f", sent {three_digits(split.late_ms)} ms late" if split.late_ms > 0.01 * split.service_ms else ""
    return f"of {three_digits(split.service_ms)} ms per request {told}{late}"


def split_of(record: Record) -> Split | str:
    """Return the split of one record, or why it cannot be told."""
    telemetry, seen = record["telemetry"], service_mean_ms(record)
    queue, compute = (number_of(telemetry, name) for name in ("queue_time_ms", "compute_time_ms"))
    if seen is None:
        return "the record has no mean service time"
    if queue is None or compute is None:
        missing = "queue_time_ms" if queue is None else "compute_time_ms"
        why = str((telemetry.get("absent") or {}).get(missing) or "the server does not tell")
        together = "queue, compute, transport and preprocessing are known together only"
        return f"{together}, {three_digits(seen)} ms: {why}"
    if telemetry.get("counters_offset_s") is None:
        return "the server's counters are of the whole load, the times of the measured window"
    if queue + compute > seen * (1 + MOST_EXCESS):
        return (
            f"the server tells {three_digits(queue + compute)} ms per request and the client saw"
            f" {three_digits(seen)} ms: too few requests lie wholly inside the window"
        )
    handler = number_of(telemetry, "handler_time_ms")
    computed = handler if handler is not None and handler <= compute else compute
    mean_ms = number_of(record["response_time_ms"], "mean") or seen
    return Split(
        service_ms=seen,
        queue_ms=queue,
        compute_ms=computed,
        late_ms=max(0.0, mean_ms - seen),
        busy=_busy(record, computed),
    )


def joined_splits(splits: Sequence[Split | str]) -> Split | str:
    """Return the medians of replicates' splits; why there is none where one of them has none."""
    told = [split for split in splits if isinstance(split, Split)]
    if len(told) < len(splits) or not told:
        return next((split for split in splits if isinstance(split, str)), "nothing was measured")
    busy = [split.busy for split in told if split.busy is not None]
    return Split(
        service_ms=median(split.service_ms for split in told),
        queue_ms=median(split.queue_ms for split in told),
        compute_ms=median(split.compute_ms for split in told),
        late_ms=median(split.late_ms for split in told),
        busy=_medians(busy) if len(busy) == len(told) else None,
    )


def _medians(shares: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return median(low for low, _ in shares), median(high for _, high in shares)


def service_mean_ms(record: Record) -> float | None:
    """Return the mean service time: of a closed loop that of the response time, else by the histogram.

    A closed loop sends whenever a reply is there, so no request is ever late.
    """
    if record["load"].get("arrivals", CLOSED) == CLOSED and not record["case"].get("objective"):
        return number_of(record["response_time_ms"], "mean") or None
    encoded = (record.get("histogram") or {}).get("service_time_ns")
    if not encoded:
        return None
    held = Histogram.decoded(str(encoded))
    return held.sum_ns / held.count / 1e6 if held.count else None


def _busy(record: Record, compute_ms: float) -> tuple[float, float] | None:
    """Return between which shares of the window executions were under way.

    Counters know executions by their end, so that one more or one fewer may have lain in the window; of a
    few nothing can be said. Where executions differ in size, the mean per request is that of the
    larger ones, and the share somewhat too great.
    """
    executions = number_of(record["telemetry"], "executions")
    window_s = number_of(record, "window_s")
    if executions is None or executions < FEWEST_EXECUTIONS or not window_s:
        return None
    one = compute_ms / 1e3 / window_s
    return max(0.0, executions - 1) * one, (executions + 1) * one
