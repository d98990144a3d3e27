"""What is told of a distribution of times, from the times themselves or from a histogram (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_servebench.statistics.histogram import Histogram

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles, mean and extremes of some times."""

    percentiles_ms: Callable[[Sequence[int]], npt.NDArray[np.float64]]
    """Of ranks from 0 to 100, interpolated as `numpy.percentile` does."""
    mean_ms: float
    min_ms: float
    max_ms: float


def spread_of(times_ns: npt.NDArray[np.int64], folded: Histogram) -> Spread | None:
    """Return the spread of times and of what was ``folded`` of them; None without any.

    Exact where nothing was folded; else percentiles are those of a histogram, within 0.1%.
    """
    if not folded.count:
        times_ms = times_ns / _NS_PER_MS
        if not len(times_ms):
            return None
        extremes = float(times_ms.min()), float(times_ms.max())
        return Spread(lambda ranks: np.percentile(times_ms, ranks), float(times_ms.mean()), *extremes)
    whole = folded + Histogram.of(times_ns)
    assert whole.mean_ns is not None
    assert whole.min_ns is not None
    assert whole.max_ns is not None
    return Spread(
        lambda ranks: whole.percentiles(ranks) / _NS_PER_MS,
        whole.mean_ns / _NS_PER_MS,
        whole.min_ns / _NS_PER_MS,
        whole.max_ns / _NS_PER_MS,
    )
