"""Confidence intervals within one run: circular block bootstrap over a window's time line (pure).

They say how surely the figures of this run are known, and nothing of the next one, whose server is
started anew: for that there are repeats, and `comparison.intervals`. Those of `intervals`, which decide
when a window may end, are told without resampling, since a load that runs has no time for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10, sqrt

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import Slice
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.intervals import (
    BATCHES,
    CONFIDENCE,
    FEWEST_BATCHES,
    FEWEST_REPLIES,
    Interval,
)

METHOD = "circular block bootstrap"
RANKS = (50.0, 95.0, 99.0)
RESAMPLES = 1_000
FEWEST_BEYOND = 5
"""Replies beyond a percentile, below which nothing is told of it."""
QUIET_LAGS = 5
"""So many autocorrelations in a row that chance explains end a series' memory (Politis and White)."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinRun:
    """What one window's time line tells of its figures."""

    throughput_per_s: Interval
    response_time_ms: dict[str, Interval | None]
    """By ``p50``, ``p95``, ``p99``; None where too few replies bound it."""
    block_s: float
    """Length of the blocks: within one, what happened stays together."""


def within_run(slices: Sequence[Slice], seed: int = 0) -> WithinRun | None:
    """Return the 95% intervals over a window's slices; None where these are too few, or their replies.

    Replies that share a queue, a batch or a collection of garbage are alike, so whole blocks of the
    time line are drawn, its end joined to its beginning (Politis and Romano 1992), as long as its
    own autocorrelation demands. The rate, and the share of replies above a percentile, vary over
    the resamples; Student's t on as many values as there are blocks makes intervals of that, and the
    window's distribution, read at so much less and more than the percentile's rank, turns that of the
    share into one of time (Woodruff 1952). A dozen milliseconds. In a queue that is seldom long,
    the p99 of a short window is known less well than its interval says.
    """
    if len(slices) < FEWEST_BATCHES or sum(one.correct for one in slices) < FEWEST_REPLIES:
        return None
    times = Histogram.merged(one.response_times for one in slices)
    seconds = np.array([one.end_ns - one.begin_ns for one in slices]) / 1e9
    correct = np.array([one.correct for one in slices], dtype=np.float64)
    places_ns = times.percentiles(RANKS)
    above = np.array([one.response_times.counts_above(places_ns) for one in slices], dtype=np.float64)
    rate, shares = correct.sum() / seconds.sum(), above.sum(axis=0) / correct.sum()
    # What each slice has more than its part: whose spread is that of the figures.
    excess = np.column_stack((correct - rate * seconds, above - correct[:, None] * shares))
    length = ceil(max(len(slices) / BATCHES, *map(block_length, excess.T)))
    halves = _half_widths(excess, length, seed) / np.append(
        seconds.mean(), np.full(len(RANKS), correct.mean())
    )
    return WithinRun(
        throughput_per_s=(max(0.0, float(rate - halves[0])), float(rate + halves[0])),
        response_time_ms={
            f"p{rank:g}": _percentile_interval(times, rank, float(half))
            for rank, half in zip(RANKS, halves[1:], strict=True)
        },
        block_s=float(length * seconds.mean()),
    )


def block_length(series: Numbers) -> float:
    """Return the best length of blocks for the mean of ``series``, in its steps; 1 where it has no memory.

    Estimates of a short series' memory fall short, so whoever uses it has a least length too.

    By Politis and White, Automatic Block-Length Selection for the Dependent Bootstrap (2004), as
    corrected by Patton, Politis and White (2009), for the circular bootstrap.
    """
    count, deviations = len(series), series - series.mean()
    variance = float(deviations @ deviations) / count
    if variance == 0:
        return 1.0
    most = min(count - 1, ceil(sqrt(count)) + QUIET_LAGS)
    lags = np.array([float(deviations[lag:] @ deviations[: count - lag]) / count for lag in range(most + 1)])
    loud = np.abs(lags[1:] / variance) >= 2 * sqrt(log10(count) / count)
    reach = min(2 * _memory(loud), most)
    if reach == 0:
        return 1.0
    steps = np.arange(1, reach + 1)
    weights = np.clip(2 * (1 - steps / reach), 0.0, 1.0)  # flat to one half, then down to nothing
    curve = float(2 * np.sum(weights * steps * lags[1 : reach + 1]))
    level = variance + float(2 * np.sum(weights * lags[1 : reach + 1]))
    if level == 0:
        return 1.0
    best = (1.5 * (curve / level) ** 2 * count) ** (1 / 3)
    return float(min(max(1.0, best), ceil(min(3 * sqrt(count), count / 3))))


def _memory(loud: npt.NDArray[np.bool_]) -> int:
    """Return the lag after which the next few say nothing; the last one that does, where none is so quiet."""
    for lag in range(len(loud) - QUIET_LAGS + 1):
        if not loud[lag : lag + QUIET_LAGS].any():
            return lag
    return int(np.flatnonzero(loud)[-1]) + 1


def _half_widths(excess: Numbers, length: int, seed: int) -> Numbers:
    """Return half of the interval of each column's mean, by blocks of so many rows."""
    from scipy.special import stdtrit

    count = len(excess)
    blocks = max(2.0, count / length)
    begins = np.random.default_rng(seed).integers(count, size=(RESAMPLES, ceil(count / length), 1))
    rows = ((begins + np.arange(length)) % count).reshape(RESAMPLES, -1)[:, :count]
    flat = rows + count * np.arange(RESAMPLES)[:, None]
    drawn = np.bincount(flat.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count)
    spread: Numbers = (drawn @ excess / count).std(axis=0, ddof=1)
    return float(stdtrit(blocks - 1, 0.5 + CONFIDENCE / 2)) * sqrt(blocks / (blocks - 1)) * spread


def _percentile_interval(times: Histogram, rank: float, half: float) -> Interval | None:
    """Return between which times a percentile lies whose rank is known to so much; None: not bounded."""
    tail = 1 - rank / 100
    half = max(half, 2 * sqrt(tail * (1 - tail) / times.count))
    if half >= min(tail, 1 - tail) or tail * times.count < FEWEST_BEYOND:
        return None
    low, high = times.percentiles([rank - 100 * half, rank + 100 * half]) / 1e6
    return float(low), float(high)
