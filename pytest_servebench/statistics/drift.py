"""Whether a window drifted: a trend over its slices that is neither small nor chance (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_servebench.samples import Slice
from pytest_servebench.statistics.slices import grouped

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimits:
    """From where on a trend is one."""

    change: float = 0.5
    """Least change from the window's begin to its end, as a share of its middle. Wide, because
    neighbours on a shared machine change what it does by a third within seconds, and a random verdict is
    worse than none."""
    chance: float = 0.001
    """Greatest probability that a window without a trend shows one so clear."""
    parts: int = 12
    """Into how many parts the window is joined, at most: long ones, because neighbours are alike."""
    fewest_parts: int = 8
    replies: int = 90
    """Correct replies below which nothing is said."""


def drift_of(slices: Sequence[Slice], limits: DriftLimits, burst: int) -> str:
    """Return how throughput or response time changed from begin to end of a window, or nothing.

    Mann-Kendall's test for a trend (Mann 1945) over the parts of the window, and Theil and Sen's
    slope for its size. A rate may change by ``burst`` replies in a part more: so many may end in
    one instant, on either side of an edge.
    """
    if len(slices) < limits.fewest_parts or sum(one.correct for one in slices) < limits.replies:
        return ""
    parts = grouped(slices, min(limits.parts, len(slices)))
    seconds = np.array([one.end_ns - one.begin_ns for one in parts]) / 1e9
    rates = np.array([one.correct for one in parts]) / seconds
    told = _trend("throughput", "requests/s", rates, limits, burst / float(seconds.mean()))
    for rank in (50, 95):
        times = [one.response_times.percentile(rank) for one in parts]
        told = told or _trend(
            f"p{rank} response time",
            "ms",
            np.array([one / 1e6 for one in times if one is not None]),
            limits,
            0.0,
        )
    return told


def _trend(name: str, unit: str, values: Numbers, limits: DriftLimits, slack: float) -> str:
    if len(values) < limits.fewest_parts or np.ptp(values) == 0:
        return ""
    middle, change = float(np.median(values)), slope_of(values) * (len(values) - 1)
    if abs(change) - slack <= limits.change * middle or _chance(values) > limits.chance:
        return ""
    return (
        f"the {name} {'rose' if change > 0 else 'fell'} steadily from about {middle - change / 2:.3g} to "
        f"{middle + change / 2:.3g} {unit} within the window: it is not one steady state"
    )


def slope_of(values: Numbers) -> float:
    """Return Theil and Sen's slope per step: the median over all pairs, as `scipy.stats.theilslopes` has it.

    Every window is asked for it, and to import `scipy.stats` takes a second: only a steep one needs more.
    """
    earlier, later = np.triu_indices(len(values), k=1)
    return float(np.median((values[later] - values[earlier]) / (later - earlier)))


def _chance(values: Numbers) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(np.arange(len(values)), values).pvalue)
