"""What the gate's rule does to made-up runs: how often it is wrong, and how often it finds what is slower.

A run's figure is drawn from a lognormal distribution around its server's true one: its spread is what
one start of a server differs from the next by. The rule is that of `pytest_servebench.comparison.regression`,
for thousands of families of comparisons at once; a test holds the two against each other. Pure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control, mannwhitneyu, ttest_ind

from pytest_servebench.comparison.significance import SIGNIFICANCE

FAMILIES = 4000
Numbers: TypeAlias = npt.NDArray[np.float64]
Verdicts: TypeAlias = npt.NDArray[np.bool_]

SPREADS = (0.02, 0.05)
SIZES = (1, 20, 60)
SLOWER = (0.05, 0.1, 0.2)
TRUE_MS = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A family of comparisons: cases times figures, as one session judges."""

    comparisons: int
    spread: float
    """Standard deviation from start to start of a server, as a share of the figure."""
    slower: float = 0.0
    """By what share the first ``slowed`` of the comparisons really are slower now; 0: nothing has changed."""
    slowed: int = 1
    repeats: int = 5
    limit: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often the rule is wrong and right, with the correction for many comparisons and without it."""

    false: float
    """Share of families in which something is called a regression that is none."""
    false_uncorrected: float
    false_among_told: float
    """Share of all regressions told that are none; 0 where none is told."""
    found: float
    """Share of the slower comparisons that are called regressions."""
    found_uncorrected: float
    passed: float
    """Share of the slower comparisons that pass: their medians differ by no more than the limit. The rest
    is inconclusive."""


def rates_of(setting: Setting, families: int, seed: int = 0) -> Rates:
    """Return how often the rule is wrong and right over so many families."""
    random = np.random.default_rng(seed)
    shape = (families, setting.comparisons, setting.repeats)
    before, now = (TRUE_MS * random.lognormal(0, setting.spread, shape) for _ in range(2))
    slowed = setting.slowed if setting.slower else 0
    now[:, :slowed] *= 1 + setting.slower
    uncorrected, corrected = regressions(before, now, setting.limit)
    within = ~is_beyond(before, now, setting.limit)
    return Rates(
        false=float(corrected[:, slowed:].any(axis=1).mean()),
        false_uncorrected=float(uncorrected[:, slowed:].any(axis=1).mean()),
        false_among_told=float(corrected[:, slowed:].sum() / max(1, corrected.sum())),
        found=float(corrected[:, :slowed].mean()) if slowed else 0.0,
        found_uncorrected=float(uncorrected[:, :slowed].mean()) if slowed else 0.0,
        passed=float(within[:, :slowed].mean()) if slowed else 0.0,
    )


def regressions(before: Numbers, now: Numbers, limit: float) -> tuple[Verdicts, Verdicts]:
    """Return which comparisons are regressions, without the correction and with it.

    ``before`` and ``now`` are [families, comparisons, repeats] of a figure of which less is better; there is
    no floor. Both results are [families, comparisons].
    """
    rank_p = mannwhitneyu(now, before, alternative="greater", method="exact", axis=-1).pvalue
    welch_p = ttest_ind(np.log(now), np.log(before), equal_var=False, alternative="greater", axis=-1).pvalue
    uncorrected = is_beyond(before, now, limit) & (rank_p < SIGNIFICANCE)
    corrected = [false_discovery_control(p, axis=-1) <= SIGNIFICANCE for p in (welch_p, rank_p)]
    return uncorrected, uncorrected & (corrected[0] | corrected[1])


def is_beyond(before: Numbers, now: Numbers, limit: float) -> Verdicts:
    """Return where the median is greater by more than the limit."""
    beyond: Verdicts = np.median(now, axis=-1) > np.median(before, axis=-1) * (1 + limit)
    return beyond


def simulation_table(families: int, *, repeats: int = 5, limit: float = 0.05) -> str:
    """Return a Markdown table: a row for each spread and size of family.

    ``any false``: share of families with a regression where nothing has changed. ``+10%``: of the
    comparisons that became so much slower, one of each family, the shares of regressions, inconclusive ones
    and passes.
    """
    titles = [
        "spread",
        "comparisons",
        "any false",
        "any false, uncorrected",
        *(f"+{one:.0%}" for one in SLOWER),
    ]
    rows = [titles, ["---:"] * len(titles)]
    for spread, comparisons in product(SPREADS, SIZES):
        same, *slower = (
            rates_of(
                Setting(comparisons=comparisons, spread=spread, slower=share, repeats=repeats, limit=limit),
                families,
            )
            for share in (0.0, *SLOWER)
        )
        told = [f"{same.false:.1%}", f"{same.false_uncorrected:.1%}", *map(_told, slower)]
        rows.append([f"{spread:.0%}", str(comparisons), *told])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _told(rates: Rates) -> str:
    return f"{rates.found:.0%} / {abs(1 - rates.found - rates.passed):.0%} / {rates.passed:.0%}"


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate simulate", description=__doc__)
    parser.add_argument("--families", type=int, default=FAMILIES, help="of each row (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of each side (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=0.05, help="as a share (default: %(default)s)")
    asked = parser.parse_args(words)
    sys.stdout.write(simulation_table(asked.families, repeats=asked.repeats, limit=asked.limit) + "\n")
    return 0
