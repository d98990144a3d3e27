"""What limits a case: the client, the queue, the computation, or what lies around them (pure).

- `client`: the run says so itself (``client_limited``), or requests of an open loop were sent late for longer
  than they were served.
- `compute`: the largest part of a request's time; or the queue is, and executions surely filled 80% of the
  window or more: then requests wait for the computation, and a shorter queue would serve no more of them.
- `queue`: the largest part, while executions are not known to fill the window: a batch is waited for.
- what no counter has, where that is the largest part. Of tensors there is nothing to preprocess, so it is
  `transport`; of encoded images it is `transport and preprocessing`, unless the server preprocesses within
  what it counts as its computation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_servebench.plan import Payload
from pytest_servebench.reports.findings.measured import Measured, number_of
from pytest_servebench.reports.findings.split import Split, joined_split
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.results import Validity

CLIENT, QUEUE, COMPUTE, TRANSPORT = "client", "queue", "compute", "transport"
BOTH = "transport and preprocessing"
WITHIN_COMPUTE: Mapping[str, bool] = MappingProxyType({"fastapi": False, "triton": False, "torchserve": True})
"""Whether images are preprocessed within what is counted as the computation; of other stacks nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """What limits one case, and how that is known."""

    limit: str
    """One of the words above; empty: not known."""
    sentence: str
    split: Split | None = None


def bottleneck_of(case: Measured) -> Bottleneck:
    """Return what limits a case; joined over its replicates, by medians."""
    row = case.row
    if row.validity == Validity.CLIENT_LIMITED:
        return Bottleneck(limit=CLIENT, sentence=f"{CLIENT}: {row.reason}")
    if not row.is_believed:
        return Bottleneck(limit="", sentence=f"not told: the run is {row.verdict}: {row.reason}".rstrip(": "))
    split = joined_split(case.valid)
    if isinstance(split, str):
        return Bottleneck(limit="", sentence=f"not told: {split}")
    limit = _limit(case, split)
    extra = "".join(f"; {word}" for word in (_saturation(limit, split), _beside(case)) if word)
    return Bottleneck(limit=limit, sentence=f"{limit}: {_parts(case, split)}{extra}", split=split)


def _limit(case: Measured, split: Split) -> str:
    around = _around(case)
    parts = {QUEUE: split.queue_ms, COMPUTE: split.compute_ms, around: split.rest_ms, CLIENT: split.late_ms}
    largest = max(parts, key=lambda name: parts[name])
    if largest == CLIENT and split.late_ms <= split.service_ms:
        largest = max((QUEUE, COMPUTE, around), key=lambda name: parts[name])
    return COMPUTE if largest == QUEUE and split.is_full else largest


def _around(case: Measured) -> str:
    """Return what that part of the time is which no counter has."""
    encoded = case.row.payload == Payload.JPEG
    return BOTH if encoded and not WITHIN_COMPUTE.get(case.row.stack) else TRANSPORT


def _parts(case: Measured, split: Split) -> str:
    """Return the split in words, each part with its share."""
    computes = COMPUTE
    if case.row.payload == Payload.JPEG and WITHIN_COMPUTE.get(case.row.stack):
        computes = f"{COMPUTE} and preprocessing together"
    parts = ((QUEUE, split.queue_ms), (computes, split.compute_ms), (_around(case), split.rest_ms))
    told = ", ".join(f"{name} {three_digits(ms)} ms ({ms / split.service_ms:.0%})" for name, ms in parts)
    late = f", sent {three_digits(split.late_ms)} ms late" if split.late_ms > 0.01 * split.service_ms else ""
    return f"of {three_digits(split.service_ms)} ms per request {told}{late}"


def _saturation(limit: str, split: Split) -> str:
    """Return what the executions' share of the window says."""
    if split.is_full:
        waiting = limit == COMPUTE and split.queue_ms > split.rest_ms
        return "executions filled the window" + ": what is queued waits for the computation" * waiting
    if split.leaves_room and split.busy is not None:
        return f"executions filled at most {split.busy[1]:.0%} of the window: this load leaves room"
    known = "; too few executions ended in it" if split.busy is None else ""
    return f"whether executions filled the window is not known{known}"


def _beside(case: Measured) -> str:
    """Return what else tells of it: cores, the client, the model without a server."""
    record, row = case.valid[0], case.row
    cores = number_of(record.get("machine"), "cores_usable")
    of = "" if cores is None else f" of {cores:g}"
    words = [] if row.server_cpu_cores is None else [f"the server used {row.server_cpu_cores:.2g}{of} cores"]
    client = number_of(record, "client_cpu_share")
    words += [] if client is None else [f"the client {client:.0%} of one"]
    if row.serving_efficiency is not None:
        words.append(f"it serves {row.serving_efficiency:.0%} of what the model does in process")
    return ", ".join(words)
