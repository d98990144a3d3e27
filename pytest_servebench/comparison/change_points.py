"""Where the level of a series changed for good (pure).

Killick's PELT (ruptures) on logarithms, squared error, with the penalty 4 s^2 ln n for a change: the
information criterion's 2 s^2 ln n for a level and its place, doubled, since s is itself estimated from few
values. What made false alarms in simulations (docs/comparing-runs.md has their numbers) is taken out:
single outliers are pulled in before, and a change is kept only if a t-test finds it, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING

from pytest_servebench.errors import MissingPieceError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

FEWEST = 8
"""Values below which nothing is said."""
SHORTEST = 3
"""Values that a level has at least: one or two slow runs are an accident, not a change."""
PENALTY = 4.0
"""Of one change, in s^2 ln n."""
SIGNIFICANCE = 0.005
"""Above this p of the t-test between neighbouring levels a change is dropped."""
LEAST_NOISE = 0.005
"""s of series that seem to have less: figures are not known to better than half a per cent."""
_OUTLYING = 2.5
"""In s, from the median of the values around: farther ones are pulled in to there."""
_AROUND = 5
_MAD_OF_NORMAL = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Return where a new level begins: indices into ``values``, which are finite and above 0.

    None for fewer than `FEWEST` values. Raises `MissingPieceError` without ruptures.
    """
    if len(values) < FEWEST:
        return ()
    logs = [math.log(value) for value in values]
    noise = noise_of(logs)
    calm = without_outliers([log / noise for log in logs])
    return _significant(calm, _by_pelt(calm))


def noise_of(logs: Sequence[float]) -> float:
    """Return the standard deviation around the level, from the median step: a change of level is one step."""
    steps = [abs(after - before) for before, after in pairwise(logs)]
    return max(LEAST_NOISE, median(steps) / _MAD_OF_NORMAL / math.sqrt(2))


def without_outliers(scaled: Sequence[float]) -> list[float]:
    """Return ``scaled``, in standard deviations, with values far from those around them pulled in."""
    calm = []
    for at, value in enumerate(scaled):
        begin = max(0, min(at - _AROUND // 2, len(scaled) - _AROUND))
        middle = median(scaled[begin : begin + _AROUND])
        calm.append(min(max(value, middle - _OUTLYING), middle + _OUTLYING))
    return calm


def _by_pelt(calm: Sequence[float]) -> list[int]:
    try:
        import numpy as np
        import ruptures
    except ImportError as error:
        raise MissingPieceError(
            "change points are found by ruptures, which is not installed",
            seen=str(error),
            next_step="pip install 'pytest-servebench[history]'",
        ) from error
    signal = np.array(calm, dtype=np.float64).reshape(-1, 1)
    # A linear kernel's cost is the squared error, and this PELT is compiled.
    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST, jump=1).fit(signal - np.median(signal))
    ends = search.predict(pen=PENALTY * math.log(len(calm)))
    return [int(end) for end in ends[:-1]]


def _significant(calm: Sequence[float], found: Sequence[int]) -> tuple[int, ...]:
    """Return the points that a t-test finds, too; the weakest goes first, and its neighbours grow."""
    kept = list(found)
    while kept:
        bounds = [0, *kept, len(calm)]
        levels = [calm[begin:end] for begin, end in pairwise(bounds)]
        p_values = [_p(before, after) for before, after in pairwise(levels)]
        weakest = max(range(len(kept)), key=p_values.__getitem__)
        if p_values[weakest] < SIGNIFICANCE:
            break
        del kept[weakest]
    return tuple(kept)


def _p(before: Sequence[float], after: Sequence[float]) -> float:
    if len({*before}) == len({*after}) == 1:  # no spread, of which a t-test says nothing
        return 0.0 if before[0] != after[0] else 1.0
    from scipy.stats import ttest_ind_from_stats

    # Of moments: of nearly equal values scipy's other form warns, on everybody's terminal.
    moments = [(fmean(side), stdev(side), len(side)) for side in (before, after)]
    return float(ttest_ind_from_stats(*moments[0], *moments[1]).pvalue)
