"""A staged load, stage by stage: where each lies, and which requests were due in it (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Staged
from pytest_servebench.objective import ErrorLimit, Limit
from pytest_servebench.samples import Outcome, Samples, Tally
from pytest_servebench.staged.outcomes import StageKind
from pytest_servebench.statistics.histogram import Histogram

Which = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_NS_PER_S = 1e9
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a stage lies in a load, without the warm-up."""

    number: int
    """Its place among the stages as they are written, from 1."""
    kind: StageKind
    begin_per_s: float
    end_per_s: float
    begin_s: float
    """From the load's start, as the next."""
    end_s: float

    @property
    def duration_s(self) -> float:
        """How long it is meant to be."""
        return self.end_s - self.begin_s

    def __str__(self) -> str:
        if self.kind is StageKind.RAMP:
            return f"stage {self.number} (ramp from {self.begin_per_s:.4g}/s to {self.end_per_s:.4g}/s)"
        return f"stage {self.number} ({self.kind} at {self.begin_per_s:.4g}/s)"


def spans_of(arrivals: Staged, warmup_s: float = 0.0) -> tuple[Span, ...]:
    """Return where the stages lie; one without length, or within the warm-up, is left out."""
    spans: list[Span] = []
    begin_s, begin_per_s = 0.0, arrivals.start_per_s
    for number, stage in enumerate(arrivals.stages, start=1):
        end_s = begin_s + stage.duration_s
        if end_s > max(begin_s, warmup_s):
            span = Span(
                number=number,
                kind=_kind(begin_per_s, stage.per_s),
                begin_per_s=begin_per_s,
                end_per_s=stage.per_s,
                begin_s=max(begin_s, warmup_s),
                end_s=end_s,
            )
            spans.append(span)
        begin_s, begin_per_s = end_s, stage.per_s
    return tuple(spans)


def _kind(begin_per_s: float, end_per_s: float) -> StageKind:
    if begin_per_s != end_per_s:
        return StageKind.RAMP
    return StageKind.HOLD if end_per_s else StageKind.PAUSE


def stages_of(due_ns: npt.NDArray[np.int64], spans: Sequence[Span], started_ns: int) -> Which:
    """Return for every instant the place of its span among ``spans``; -1: in none (the warm-up's).

    A span holds its first instant and not its last, which is the next one's; the last span holds both.
    """
    edges_s = np.array([*(span.begin_s for span in spans), spans[-1].end_s])
    edges_ns = started_ns + np.rint(edges_s * _NS_PER_S).astype(np.int64)
    which: Which = np.searchsorted(edges_ns[:-1], due_ns, side="right") - 1
    which[due_ns > edges_ns[-1]] = -1
    return which


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """Times in ascending order, equal ones and those of one bucket held once."""

    values_ms: Times
    up_to: Counts
    """How many times there are up to each value, that one's among them."""

    @classmethod
    def of(cls, times_ms: Times, folded: Histogram | None = None) -> Ordered:
        """Return these times and those in a histogram, which are known to half a bucket."""
        values_ms, counts = np.unique(times_ms, return_counts=True)
        if folded is not None and folded.count:
            places = np.cumsum(folded.counts) - 1
            middles_ms = np.array([folded.order_statistic(int(place)) for place in places]) / _NS_PER_MS
            values_ms = np.concatenate([values_ms, middles_ms])
            counts = np.concatenate([counts, folded.counts])
            order = np.argsort(values_ms, kind="stable")
            values_ms, counts = values_ms[order], counts[order]
        return cls(values_ms, np.cumsum(counts))

    @property
    def count(self) -> int:
        """How many times there are."""
        return int(self.up_to[-1]) if len(self.up_to) else 0

    def within(self, limit_ms: float, *, inclusive: bool = False) -> int:
        """Return how many are below a limit (``inclusive``: or just that)."""
        place = int(np.searchsorted(self.values_ms, limit_ms, side="right" if inclusive else "left"))
        return int(self.up_to[place - 1]) if place else 0

    def percentile_ms(self, rank: float, misses: int = 0) -> float | None:
        """Return the percentile of these times and of so many infinite ones.

        Linear between order statistics, as `numpy.percentile`; None where it is infinite, or of nothing.
        """
        place = rank / 100 * (self.count + misses - 1)
        if not self.count or ceil(place) >= self.count:
            return None
        below, above = self.values_ms[np.searchsorted(self.up_to, [floor(place), ceil(place)], side="right")]
        return float(below + (above - below) * (place - floor(place)))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Due:
    """The requests that were due in one stage, whenever they ended."""

    outcomes: tuple[int, ...]
    """How many ended how, by `Outcome`, after verification."""
    times: Ordered
    """Response times of the correct ones."""
    service_times: Ordered
    """And their service times, of which the client's lateness is no part."""
    send_lags: Ordered
    """Of those that were sent."""
    compared: int = 0
    """How many answers were compared with the reference."""

    @property
    def offered(self) -> int:
        """All of them."""
        return sum(self.outcomes)

    @property
    def correct(self) -> int:
        """Those with a right answer."""
        return self.outcomes[Outcome.OK]

    @property
    def sent(self) -> int:
        """Those that were not dropped."""
        return self.offered - self.outcomes[Outcome.DROPPED]

    @property
    def without_lag(self) -> Due:
        """What would be known of them had each been due when it was sent."""
        return replace(self, times=self.service_times)

    def missed(self, limit: Limit) -> int:
        """Return how many missed a limit; whatever is no right answer misses each."""
        if isinstance(limit, ErrorLimit):
            return self.offered - self.correct
        return self.offered - self.times.within(limit.limit_ms, inclusive=limit.inclusive)

    def percentile_ms(self, rank: float) -> float | None:
        """Return the percentile over all of them; None where it lies among those without a right answer."""
        return self.times.percentile_ms(rank, self.offered - self.correct)


def due_in(samples: Samples, inside: Mask, folded: Tally | None = None) -> Due:
    """Return what became of the samples that ``inside`` selects, and of those that were folded."""
    counts = np.bincount(samples.outcome[inside], minlength=len(Outcome))
    correct = inside & (samples.outcome == Outcome.OK)
    sent = inside & (samples.sent_ns >= 0)
    more = folded or Tally()
    received_ns = samples.received_ns[correct]
    return Due(
        outcomes=tuple(int(count) + before for count, before in zip(counts, more.outcomes, strict=True)),
        times=Ordered.of((received_ns - samples.intended_ns[correct]) / _NS_PER_MS, more.response_times),
        service_times=Ordered.of((received_ns - samples.sent_ns[correct]) / _NS_PER_MS, more.service_times),
        send_lags=Ordered.of(
            (samples.sent_ns[sent] - samples.intended_ns[sent]) / _NS_PER_MS, more.send_lags
        ),
        compared=sum(bool(inside[position]) for position in samples.replies),
    )
