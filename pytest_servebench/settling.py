"""Whether a server has warmed up: its latest windows agree in throughput and in response time (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pytest_servebench.intervals import order_interval
from pytest_servebench.results import Slice
from pytest_servebench.slices import grouped

WINDOWS = 3
TOLERANCE = 0.1
"""By how much the windows may differ, as in perf_analyzer."""
FEWEST_SLICES = 5
"""A window's least length: half a second at the slices' first length."""
FEWEST_REPLIES = 10
"""A window with fewer correct replies shows nothing, least of all that it is like another."""
MOST_CHANCE = 0.5
"""Share of a window's replies that chance may be laid to; where it may be more, windows must be longer."""
_RANKS = (50, 95)


def settled(slices: Sequence[Slice]) -> bool:
    """Return whether the latest three windows of a warm-up agree.

    The rule is perf_analyzer's (three windows in a row, at most 10% apart in throughput and
    response time; `inference_profiler.cc`), with what it lacks: windows as long as it takes,
    from half a second up to a third of the warm-up, so that a period of the server (a batch, a
    collection) fits in; and an allowance for chance. Throughputs may differ by 10% and the
    greatest jump from one slice to the next, which is what a batch more or less does, and which a
    ramp adds little to. p95 and median may differ by 10% beyond their 95% order-statistics
    intervals: with few replies a p95 says nothing, and the median speaks for it.
    """
    return any(_agree(slices[-WINDOWS * length :], length) for length in _lengths(len(slices)))


def _lengths(count: int) -> Iterator[int]:
    length = FEWEST_SLICES
    while length * WINDOWS <= count:
        yield length
        length *= 2


def _agree(slices: Sequence[Slice], length: int) -> bool:
    counts = [sum(one.correct for one in slices[at : at + length]) for at in range(0, len(slices), length)]
    mean = sum(counts) / len(counts)
    jump = max(abs(one.correct - other.correct) for one, other in pairwise(slices))
    if min(counts) < FEWEST_REPLIES or jump > MOST_CHANCE * mean:
        return False
    if max(counts) - min(counts) > TOLERANCE * mean + jump:
        return False
    windows = grouped(slices, WINDOWS)
    return all(_overlap(windows, rank) for rank in _RANKS)


def _overlap(windows: Sequence[Slice], rank: float) -> bool:
    """Return whether the windows may have one percentile of this rank, give or take the tolerance."""
    bounds = [order_interval(one.response_times, rank) for one in windows]
    return max(low for low, _ in bounds) <= (1 + TOLERANCE) * min(high for _, high in bounds)
