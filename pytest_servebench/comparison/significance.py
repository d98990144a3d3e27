"""Whether two samples of replicates differ by more than chance, and by how much (pure).

A replicate is one figure of one run whose server was started for it. All values are finite and
above 0: shares are told on logarithms, where a change of all values by one factor is a shift. SciPy does what
it can; ours is what it has not: the exact rank test with ties, and the interval that belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, median, stdev

import numpy as np
import numpy.typing as npt

SIGNIFICANCE = 0.05
CONFIDENCE = 0.95
MOST_EXACT = 100
"""Values of both sides together up to which every rank test and interval is exact."""
_LARGEST_LOG = 700.0
"""e to this is a float."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """By what share a sample has changed, all of its values by one factor."""

    share: float
    """The estimate of Hodges and Lehmann: 0.1 is ten per cent more."""
    interval: tuple[float, float] | None
    """95% confidence interval of ``share``; None: so few values give none."""


def smallest_p(before: int, now: int) -> float:
    """Return the least p that a one-sided rank test of so many against so many values can have."""
    return 1 / math.comb(before + now, now)


def is_enough(before: int, now: int) -> bool:
    """Return whether so many values could differ significantly at all."""
    return min(before, now) > 0 and smallest_p(before, now) < SIGNIFICANCE


def repeats_needed(before: int | None = None) -> int:
    """Return the fewest values that could differ significantly from ``before`` others; None: from as many.

    Raises `ValueError` for no others: nothing could.
    """
    if before is not None and before < 1:
        raise ValueError("nothing can differ from no values at all")
    now = 1
    while not is_enough(now if before is None else before, now):
        now += 1
    return now


def rank_p(lower: Sequence[float], higher: Sequence[float]) -> float:
    """Return the one-sided p of Mann and Whitney's test that ``higher`` are greater than ``lower``.

    Exact, with ties too: the distribution of the sum of midranks over all ways to deal the
    values out (Streitberg and Roehmel 1986). Beyond `MOST_EXACT` values it is the normal
    approximation corrected for ties: of 1,000 against 1,000 the exact one takes minutes.
    """
    from scipy.stats import mannwhitneyu

    values = np.array([*lower, *higher], dtype=np.float64)
    tied = len(np.unique(values)) < len(values)
    if tied and len(values) <= MOST_EXACT:
        return _tied_rank_p(values, len(higher))
    if tied and values.min() == values.max():
        return 0.5
    method = "exact" if len(values) <= MOST_EXACT else "asymptotic"
    return float(mannwhitneyu(higher, lower, alternative="greater", method=method).pvalue)


def welch_p(lower: Sequence[float], higher: Sequence[float]) -> float:
    """Return the one-sided p of Welch's t-test, on logarithms, that ``higher`` are greater than ``lower``.

    One value on a side has no spread of its own: then both sides share one (Student's test).
    """
    from scipy.stats import ttest_ind_from_stats

    low, high = ([math.log(value) for value in side] for side in (lower, higher))
    moments = [(fmean(side), stdev(side) if len(side) > 1 else 0.0, len(side)) for side in (high, low)]
    single = min(len(low), len(high)) == 1
    if len(low) == len(high) == 1:
        return 0.5
    p = float(ttest_ind_from_stats(*moments[0], *moments[1], equal_var=single, alternative="greater").pvalue)
    return 0.5 if math.isnan(p) else p  # no spread and no difference


def shift_of(before: Sequence[float], now: Sequence[float]) -> Shift:
    """Return by what share ``now`` has changed: the median of all pairwise ratios, with its interval.

    The interval holds every share that the two-sided exact rank test at 5% does not reject (Moses;
    Hollander and Wolfe, Nonparametric Statistical Methods, section 4.3). One of less than 95% would not be
    what its name says: where 95% cannot be reached (3 against 4 values and less) there is none.
    """
    logs = [[math.log(value) for value in side] for side in (before, now)]
    differences = sorted(after - earlier for earlier in logs[0] for after in logs[1])
    rank = _interval_rank(len(before), len(now))
    interval = (_share(differences[rank - 1]), _share(differences[-rank])) if rank else None
    return Shift(share=_share(median(differences)), interval=interval)


def adjusted(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values of a family of tests, adjusted as Benjamini and Hochberg (1995) do."""
    from scipy.stats import false_discovery_control

    return tuple(map(float, false_discovery_control(p_values))) if p_values else ()


def _share(log_ratio: float) -> float:
    return math.expm1(min(log_ratio, _LARGEST_LOG))


def _tied_rank_p(values: Numbers, count: int) -> float:
    """Return the share of all ways to choose ``count`` values whose ranks sum to at least the last ones'."""
    from scipy.stats import rankdata

    doubled = np.rint(2 * rankdata(values)).astype(np.int64)
    ways = _ways(tuple(doubled.tolist()), count)
    return float(ways[int(doubled[-count:].sum()) :].sum() / ways.sum())


def _interval_rank(before: int, now: int) -> int:
    """Return which pairwise difference from either end bounds the interval; 0: none does.

    It is one more than the greatest U whose tail is at most 2.5%; beyond `MOST_EXACT` values by the
    normal approximation of U.
    """
    tail = (1 - CONFIDENCE) / 2
    if before + now > MOST_EXACT:
        from scipy.special import ndtri

        spread = math.sqrt(before * now * (before + now + 1) / 12)
        return max(0, math.floor(before * now / 2 + float(ndtri(tail)) * spread))
    return int(np.searchsorted(_cumulative(before, now), tail * (1 + 1e-9), side="right"))


@lru_cache
def _cumulative(before: int, now: int) -> Numbers:
    """Return the distribution function of U without ties, from U = 0."""
    ways = _ways(tuple(range(1, before + now + 1)), now)[now * (now + 1) // 2 :]
    shares: Numbers = np.cumsum(ways) / ways.sum()
    return shares


@lru_cache
def _ways(ranks: tuple[int, ...], count: int) -> Numbers:
    """Return in how many ways ``count`` of ``ranks`` have each sum, from 0 (the shift algorithm)."""
    ways = np.zeros((count + 1, sum(ranks) + 1))
    ways[0, 0] = 1
    for rank in ranks:
        for chosen in range(count, 0, -1):
            ways[chosen, rank:] += ways[chosen - 1, : ways.shape[1] - rank]
    row: Numbers = ways[count].copy()
    return row
