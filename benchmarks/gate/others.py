"""What other gates say of the same replicates: whether each would fail a build (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gate.comparing import Comparison
from benchmarks.gate.replicates import Replicate

LIMIT = "10%"
SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class OtherGate:
    """A rule by which builds fail elsewhere."""

    name: str
    runs: int | None
    """How many replicates of each side it looks at, the first ones; None: all, as if they were one run."""
    fails: Callable[[Sequence[float], Sequence[float]], bool]
    """Given the response times before and now."""

    def finds(self, one: Comparison) -> bool:
        """Return whether it fails a comparison; one without replies is not failed by any of them."""
        before, now = (self._times(side) for side in (one.before, one.now))
        return bool(before) and bool(now) and self.fails(before, now)

    def _times(self, side: Sequence[Replicate]) -> list[float]:
        return [time for replicate in side[: self.runs] for time in replicate.times_s]


def stock_fails(before: Sequence[float], now: Sequence[float]) -> bool:
    """Return what ``pytest --benchmark-compare-fail=mean:10%`` says, by pytest-benchmark's own code."""
    from pytest_benchmark.utils import parse_compare_fail

    rule = parse_compare_fail(f"mean:{LIMIT}")  # type: ignore[no-untyped-call]
    means = ({"mean": float(np.mean(times))} for times in (now, before))
    return bool(rule.fails(*means))


def p95_fails(before: Sequence[float], now: Sequence[float]) -> bool:
    """Return whether the p95 is more than 10% above what it was."""
    first, second = (float(np.percentile(times, 95)) for times in (before, now))
    return second > first * (1 + float(LIMIT.rstrip("%")) / 100)


def ranks_fail(before: Sequence[float], now: Sequence[float]) -> bool:
    """Return whether a rank test takes the requests of two runs for evidence: its p is below 0.05."""
    from scipy.stats import mannwhitneyu

    return bool(mannwhitneyu(now, before, alternative="greater").pvalue < SIGNIFICANCE)


OTHER_GATES = (
    OtherGate("`--benchmark-compare-fail=mean:10%`, 1 run", 1, stock_fails),
    OtherGate("p95 more than 10% up, 1 run", 1, p95_fails),
    OtherGate("Mann-Whitney over all requests, 1 run", 1, ranks_fail),
    OtherGate("`--benchmark-compare-fail=mean:10%`, all runs pooled", None, stock_fails),
    OtherGate("p95 more than 10% up, all runs pooled", None, p95_fails),
    OtherGate("Mann-Whitney over all requests, all runs pooled", None, ranks_fail),
)
