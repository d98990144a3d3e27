"""Between which bounds the typical run lies, as runs that were started anew show it (pure).

Such an interval speaks of the next run too. Those of `pytest_servebench.statistics.resampling` do not: they
are of one run, in which everything is alike that differs from start to start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log, sqrt
from statistics import fmean, median, stdev, variance

CONFIDENCE = 0.95
FEWEST = 2
"""Replicates below which nothing is known of how much they differ."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcrossRuns:
    """One figure over the replicates of a case."""

    median: float
    interval: Interval | None
    """95% confidence interval of the median of all runs there could be; None: nothing tells it."""
    replicates: int

    @property
    def width(self) -> float | None:
        """The longer arm of the interval, as a share of the median."""
        if self.interval is None or not self.median:
            return None
        low, high = self.interval
        return max(self.median - low, high - self.median) / self.median


def across_runs(values: Sequence[float], confidence: float = CONFIDENCE) -> AcrossRuns | None:
    """Return the median of replicates and its interval; None without a value.

    Student's t on the logarithms, turned back by the exponential function. What differs from start to
    start (where memory lies, which cores, how hot) makes a server so many per cent faster or slower, and
    such factors multiply: runs are about log-normal. Then the mean of the logarithms is also their
    median, so that the interval turned back is that of the median run, and never reaches 0. There is
    none for fewer than two replicates, nor for a value that has no logarithm.
    """
    if not values:
        return None
    return AcrossRuns(median=median(values), interval=_interval(values, confidence), replicates=len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times as great one side's figure is as the other's."""

    value: float
    """Of the geometric means."""
    interval: Interval | None
    """95% confidence interval, over runs; None: nothing tells it."""


def ratio_across(
    over: Sequence[float], under: Sequence[float], confidence: float = CONFIDENCE
) -> Ratio | None:
    """Return the ratio of two sides' replicates; None for a side without values, or with one not above 0.

    The interval is Welch's on the logarithms (B. L. Welch, Biometrika 34, 1947), as `across_runs` takes
    Student's: the two sides may vary from start to start by unequal shares. There is none for fewer than two
    replicates on a side.
    """
    values = (*over, *under)
    if not over or not under or not all(isfinite(value) and value > 0 for value in values):
        return None
    logs = [[log(value) for value in side] for side in (over, under)]
    middle = fmean(logs[0]) - fmean(logs[1])
    if min(map(len, logs)) < FEWEST:
        return Ratio(value=exp(middle), interval=None)
    one, other = ((variance(side) / len(side), len(side)) for side in logs)
    half = _welch_half(one, other, confidence)
    return Ratio(value=exp(middle), interval=(exp(middle - half), exp(middle + half)))


def _welch_half(one: tuple[float, int], other: tuple[float, int], confidence: float) -> float:
    """Return half of Welch's interval, of two means' variances and counts."""
    from scipy.special import stdtrit

    together = one[0] + other[0]
    if not together:
        return 0.0
    freedom = 1 / sum((mean_variance / together) ** 2 / (count - 1) for mean_variance, count in (one, other))
    return float(stdtrit(freedom, 0.5 + confidence / 2)) * sqrt(together)


def overlap(one: Interval, other: Interval) -> bool:
    """Return whether two intervals have a value in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def _interval(values: Sequence[float], confidence: float) -> Interval | None:
    if len(values) < FEWEST or not all(isfinite(value) and value > 0 for value in values):
        return None
    from scipy.special import stdtrit

    logs = [log(value) for value in values]
    t = float(stdtrit(len(logs) - 1, 0.5 + confidence / 2))
    middle, half = fmean(logs), t * stdev(logs) / sqrt(len(logs))
    return exp(middle - half), exp(middle + half)
