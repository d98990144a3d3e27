"""A staged load, stage by stage: where each lies, and which requests were due in it (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Staged
from pytest_servebench.objective import ErrorLimit, Limit
from pytest_servebench.results import Outcome, Samples, StageKind

Which = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.float64]

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
            return f"stage {self.number} (ramp from {self.begin_per_s:g}/s to {self.end_per_s:g}/s)"
        return f"stage {self.number} ({self.kind} at {self.begin_per_s:g}/s)"


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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Due:
    """The requests that were due in one stage, whenever they ended."""

    outcomes: tuple[int, ...]
    """How many ended how, by `Outcome`, after verification."""
    times_ms: Times
    """Response times of the correct ones, ascending."""
    send_lags_ms: Times
    """Of those that were sent, ascending."""
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
    def send_lag_p99_ms(self) -> float | None:
        """How late the client was; None when nothing was sent."""
        return percentile_with_misses(self.send_lags_ms, len(self.send_lags_ms), 99)

    def within(self, limit_ms: float, *, inclusive: bool = False) -> int:
        """Return how many were answered rightly in less than a time (``inclusive``: or just that)."""
        return int(np.searchsorted(self.times_ms, limit_ms, side="right" if inclusive else "left"))

    def missed(self, limit: Limit) -> int:
        """Return how many missed a limit; whatever is no right answer misses each."""
        if isinstance(limit, ErrorLimit):
            return self.offered - self.correct
        return self.offered - self.within(limit.limit_ms, inclusive=limit.inclusive)

    def percentile_ms(self, rank: float) -> float | None:
        """Return the percentile over all of them; None where it lies among those without a right answer."""
        return percentile_with_misses(self.times_ms, self.offered, rank)


def due_in(samples: Samples, inside: Mask) -> Due:
    """Return what became of the samples that ``inside`` selects."""
    counts = np.bincount(samples.outcome[inside], minlength=len(Outcome))
    correct = inside & (samples.outcome == Outcome.OK)
    sent = inside & (samples.sent_ns >= 0)
    return Due(
        outcomes=tuple(int(count) for count in counts),
        times_ms=np.sort((samples.received_ns[correct] - samples.intended_ns[correct]) / _NS_PER_MS),
        send_lags_ms=np.sort((samples.sent_ns[sent] - samples.intended_ns[sent]) / _NS_PER_MS),
        compared=sum(bool(inside[position]) for position in samples.replies),
    )


def percentile_with_misses(ascending: Times, count: int, rank: float) -> float | None:
    """Return the percentile of ``count`` values, of which those that are not in ``ascending`` are infinite.

    Linear between order statistics, as `numpy.percentile`; None where it is infinite or there is no value.
    """
    place = rank / 100 * (count - 1)
    if not count or ceil(place) >= len(ascending):
        return None
    return float(np.interp(place, np.arange(len(ascending)), ascending))
