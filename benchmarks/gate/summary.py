"""What all comparisons say together, as plain JSON types, and whether the goals are met (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import floor, log
from statistics import mean, median, variance
from typing import Any, TypeAlias

from benchmarks.gate.comparing import Comparison, Judged, comparisons_of, judged, of_kind, repeats_in
from benchmarks.gate.others import OTHER_GATES
from benchmarks.gate.replicates import Replicate
from benchmarks.gate.schedule import SAME, SLOW_DOWNS
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeVerdict
from pytest_servebench.comparison.figures import FIGURES

Summary: TypeAlias = Mapping[str, Any]

KINDS = (SAME, *SLOW_DOWNS)
SCHEMA = 1
FALSE_SHARE = 2 / 40
FOUND_SHARES = {"+10%": 0.90, "+20%": 1.00}
SPREAD_FIGURES = ("p50", "p95", "throughput")
VALID = "valid"


def summary_of(replicates: Sequence[Replicate]) -> Summary:
    """Return the summary of what was measured, complete comparisons only."""
    repeats = repeats_in(replicates)
    comparisons = comparisons_of(replicates, repeats)
    verdicts = [judged(one) for one in comparisons]
    used = list({id(each): each for one in comparisons for each in (*one.before, *one.now)}.values())
    return {
        "schema": SCHEMA,
        "measured": _measured(used, repeats),
        "limits": {limit.figure: limit.share for limit in DEFAULT_LIMITS},
        "gate": {kind: _counted([each for each in verdicts if each.kind == kind]) for kind in KINDS},
        "slow_down": {kind: _slow_down(of_kind(comparisons, kind)) for kind in KINDS},
        "others": {
            gate.name: {kind: sum(map(gate.finds, of_kind(comparisons, kind))) for kind in KINDS}
            for gate in OTHER_GATES
        },
        "spread": {figure: _spread(comparisons, figure) for figure in SPREAD_FIGURES},
    }


def _measured(replicates: Sequence[Replicate], repeats: int) -> dict[str, Any]:
    """Return what was measured, when and on what, in words that name no host."""
    if not replicates:
        return {"replicates": 0, "repeats": repeats}
    first, machine = replicates[0].record, replicates[0].record["machine"]
    packages = machine.get("packages") or {}
    return {
        "replicates": len(replicates),
        "not_valid": sum(each.record["validity"] != VALID for each in replicates),
        "repeats": repeats,
        "from": min(each.when for each in replicates),
        "to": max(each.when for each in replicates),
        "cpu": machine.get("cpu"),
        "cores": machine.get("cores_usable"),
        "kernel": ".".join(str(machine.get("kernel")).split(".")[:2]),
        "python": machine.get("python"),
        "onnxruntime": packages.get("onnxruntime"),
        "model": first["model"],
        "weights": first["weights"],
        "warmup_s": first["load"]["warmup_s"],
        "window_s": first["load"]["duration_s"],
        "replies": median(len(each.times_s) for each in replicates),
    }


def _counted(verdicts: Sequence[Judged]) -> dict[str, Any]:
    """Return how often the gate said what of one kind."""
    words = Counter(each.verdict for each in verdicts)
    return {
        "comparisons": len(verdicts),
        **{str(word): words[word] for word in ChangeVerdict if word is not ChangeVerdict.NOT_LIMITED},
        "doubts": dict(Counter(chain.from_iterable(each.doubts for each in verdicts))),
        "found_by": {
            limit.figure: sum(each.found(limit.figure) for each in verdicts) for limit in DEFAULT_LIMITS
        },
    }


def _slow_down(comparisons: Sequence[Comparison]) -> dict[str, float] | None:
    """Return what the sleep did to the service time: ratios of medians less 1, over the comparisons."""
    ratios = []
    for one in comparisons:
        sides = [
            _known(each.record["service_time_ms"]["p50"] for each in side) for side in (one.before, one.now)
        ]
        if all(sides):
            before, now = map(median, sides)
            ratios.append(now / before - 1)
    return {"median": median(ratios), "least": min(ratios), "most": max(ratios)} if ratios else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _spread(comparisons: Sequence[Comparison], figure: str) -> dict[str, Any] | None:
    """Return how much a figure of equal servers differs from run to run, as shares of it.

    ``within``: among the replicates of one side of one comparison, pooled over all of A/A; what the gate has
    to see through. ``over_all``: among all replicates of A/A; what a comparison with an older run has to.
    """
    values = FIGURES[figure]
    sides = [
        [log(value) for value in _known(values.of(each.record) for each in side)]
        for one in of_kind(comparisons, SAME)
        for side in (one.before, one.now)
    ]
    enough = [side for side in sides if len(side) > 1]
    if not enough:
        return None
    return {
        "within": mean(map(variance, enough)) ** 0.5,
        "over_all": variance(list(chain.from_iterable(enough))) ** 0.5,
    }


def goals_of(summary: Summary) -> list[tuple[str, bool]]:
    """Return each goal in words with what was reached, whether it is met; measuring nothing meets none."""
    gate = summary["gate"]
    same = gate[SAME]
    most = floor(FALSE_SHARE * same["comparisons"])
    found = [
        (
            f"A/A: at most {most} false positives of {same['comparisons']}: {same['regression']}",
            same["comparisons"] > 0 and same["regression"] <= most,
        )
    ]
    for kind, share in FOUND_SHARES.items():
        counted = gate[kind]
        of = counted["comparisons"]
        found.append(
            (
                f"{kind}: found in at least {share:.0%} of {of}: {counted['regression']}",
                of > 0 and counted["regression"] >= share * of,
            )
        )
    return found
