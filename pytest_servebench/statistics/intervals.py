"""Confidence intervals of throughput and p95 from slices, whose replies are not independent (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import Slice
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.slices import grouped

CONFIDENCE = 0.95
RANK = 95.0
BATCHES = 20
"""At most: more would be too short to be independent, fewer would widen Student's t (Schmeiser 1982)."""
FEWEST_BATCHES = 10
FEWEST_REPLIES = 100
"""Replies below which no interval is told: a p95 of fewer has five above it."""
MOST_CORRELATION = 0.8

Interval = tuple[float, float]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Intervals:
    """What a window tells of the two figures, and how surely."""

    throughput_per_s: float
    throughput_ci_per_s: Interval
    p95_ms: float
    p95_ci_ms: Interval
    """The upper end is infinite where too few replies bound it."""

    @property
    def throughput_width(self) -> float:
        """Half of the interval, as a share of the throughput."""
        low, high = self.throughput_ci_per_s
        return (high - low) / 2 / self.throughput_per_s

    @property
    def p95_width(self) -> float:
        """The longer arm of the interval, as a share of the p95."""
        low, high = self.p95_ci_ms
        return max(self.p95_ms - low, high - self.p95_ms) / self.p95_ms if self.p95_ms else inf

    @property
    def width(self) -> float:
        """The greater of the two."""
        return max(self.throughput_width, self.p95_width)


def intervals_of(slices: Sequence[Slice]) -> Intervals | None:
    """Return the intervals over a window's slices; None where these are too few, or their replies.

    Replies that share a queue, a batch or a collection of garbage are alike, so the slices are
    joined into at most 20 batches in a row, and the spread is that of the batches (non-overlapping
    batch means; Law and Kelton, Simulation Modeling and Analysis, section 9.5), widened for
    what their first autocorrelation says is still left of it. Throughput: Student's t over the
    batches' rates. p95: t over the batches' shares of replies above the pooled p95, at least the
    binomial error, turned into an interval by reading the pooled distribution at 95% less and
    more that error (Woodruff 1952); so a batch needs no p95 of its own.
    """
    if len(slices) < FEWEST_BATCHES or sum(one.correct for one in slices) < FEWEST_REPLIES:
        return None
    batches = grouped(slices, min(BATCHES, len(slices)))
    pooled = Histogram.merged(one.response_times for one in batches)
    p95_ns = pooled.percentile(RANK)
    seconds = np.array([one.end_ns - one.begin_ns for one in batches]) / 1e9
    correct = np.array([one.correct for one in batches], dtype=np.float64)
    assert p95_ns is not None
    rate = float(correct.sum() / seconds.sum())
    half = _half_width((correct - rate * seconds) * len(batches) / seconds.sum())
    return Intervals(
        throughput_per_s=rate,
        throughput_ci_per_s=(max(0.0, rate - half), rate + half),
        p95_ms=p95_ns / 1e6,
        p95_ci_ms=_percentile_interval(batches, pooled, p95_ns),
    )


def order_interval(times: Histogram, rank: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the distribution-free interval of a percentile, in nanoseconds, for independent times.

    From binomial order statistics by their normal approximation (Conover, Practical Nonparametric
    Statistics, section 3.2); 0 or infinite at an end that so few times do not bound.
    """
    from scipy.special import ndtri

    share, error = (
        rank / 100,
        float(ndtri(0.5 + confidence / 2)) * sqrt(rank * (100 - rank) * times.count) / 100,
    )
    low, high = (ceil(share * times.count + arm) - 1 for arm in (-error, error))
    return (
        times.order_statistic(low) if low >= 0 else 0.0,
        times.order_statistic(high) if high < times.count else inf,
    )


def _half_width(deviations: Numbers) -> float:
    """Return half of the interval of a mean, from its batches' deviations, which sum to nothing.

    Widened as an autoregressive process of first order demands.
    """
    from scipy.special import stdtrit

    count = len(deviations)
    squares = float(np.dot(deviations, deviations))
    if squares == 0:
        return 0.0
    correlation = float(np.dot(deviations[1:], deviations[:-1])) / squares
    correlation = min(max(correlation, 0.0), MOST_CORRELATION)
    widening = sqrt((1 + correlation) / (1 - correlation))
    t = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2))
    return t * widening * sqrt(squares / (count - 1) / count)


def _percentile_interval(batches: Sequence[Slice], pooled: Histogram, p95_ns: float) -> Interval:
    replies = np.array([one.correct for one in batches], dtype=np.float64)
    above = np.array([one.response_times.count_above(p95_ns) for one in batches], dtype=np.float64)
    share = float(above.sum() / replies.sum())
    half = _half_width((above - share * replies) * len(batches) / replies.sum())
    tail = 1 - RANK / 100
    half = max(half, 2.1 * sqrt(tail * (1 - tail) / pooled.count))
    low, high = (pooled.percentile(100 * min(1.0, max(0.0, at))) for at in (1 - tail - half, 1 - tail + half))
    assert low is not None
    assert high is not None
    return low / 1e6, inf if half >= tail else high / 1e6
