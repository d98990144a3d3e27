"""Whether a server has warmed up: its latest windows agree in throughput and in response time (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import Slice
from pytest_servebench.statistics.intervals import order_interval
from pytest_servebench.statistics.slices import grouped

WINDOWS = 3
TOLERANCE = 0.1
"""By how much the windows may differ, as in perf_analyzer."""
FEWEST_SLICES = 5
"""A window's least length: half a second at the slices' first length."""
FEWEST_REPLIES = 10
"""A window with fewer correct replies shows nothing, least of all that it is like another."""
MOST_CHANCE = 0.5
"""Share of a window's replies that chance may be laid to; where it may be more, windows must be longer."""
SIGNIFICANT = 2.0
"""Standard errors that a slope must exceed to be one."""
_RANKS = (50, 95)


def settled(slices: Sequence[Slice]) -> bool:
    """Return whether the latest three windows of a warm-up agree.

    The rule is perf_analyzer's (three windows in a row, at most 10% apart in throughput and
    response time; `inference_profiler.cc`), with what it lacks. The windows are as long as it
    takes: together at least the latter half of the warm-up (as White's MSER truncates at most
    half of a run), so that what goes on slowly is seen, and up to all of it, so that a period of
    the server (a batch, a collection) fits in. And there is an allowance for chance. Throughputs
    may differ by 10% and the greatest jump from one slice to the next, which is what a batch more
    or less does, and to which a ramp adds little; they may not follow a significant line that
    changes by more than 10%. p95 and median may differ by 10% beyond their 95% order-statistics
    intervals: with few replies a p95 says nothing, and the median speaks for it.
    """
    return any(_agree(slices[-WINDOWS * length :], length) for length in _lengths(len(slices)))


def _lengths(count: int) -> list[int]:
    """Return the windows' lengths that are tried: a sixth of the warm-up, a third, and between."""
    least, most = max(FEWEST_SLICES, ceil(count / 2 / WINDOWS)), count // WINDOWS
    return sorted({least, (least + most) // 2, most}) if least <= most else []


def _agree(slices: Sequence[Slice], length: int) -> bool:
    counts = np.array([one.correct for one in slices])
    windows = counts.reshape(WINDOWS, length).sum(axis=1)
    mean, jump = float(windows.mean()), int(np.abs(np.diff(counts)).max())
    if windows.min() < FEWEST_REPLIES or jump > MOST_CHANCE * mean:
        return False
    if np.ptp(windows) > TOLERANCE * mean + jump or _climbs(counts):
        return False
    parts = grouped(slices, WINDOWS)
    return all(_overlap(parts, rank) for rank in _RANKS)


def _climbs(counts: npt.NDArray[np.int64]) -> bool:
    """Return whether the counts follow a line that is neither flat nor chance."""
    at = np.arange(len(counts)) - (len(counts) - 1) / 2
    spread = float(np.dot(at, at))
    slope = float(np.dot(at, counts)) / spread
    rest = counts - counts.mean() - slope * at
    error = sqrt(float(np.dot(rest, rest)) / (len(counts) - 2) / spread)
    return abs(slope) * len(counts) > TOLERANCE * float(counts.mean()) and abs(slope) > SIGNIFICANT * error


def _overlap(windows: Sequence[Slice], rank: float) -> bool:
    """Return whether the windows may have one percentile of this rank, give or take the tolerance."""
    bounds = [order_interval(one.response_times, rank) for one in windows]
    return max(low for low, _ in bounds) <= (1 + TOLERANCE) * min(high for _, high in bounds)
