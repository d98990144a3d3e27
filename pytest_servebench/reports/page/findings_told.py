"""What was found, as the page's section tells it (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.findings.finding import Claim, Comparison, Findings
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.page.cases import letters_of
from pytest_servebench.reports.page.opening import Race, races_of
from pytest_servebench.reports.reference import ReferenceTable, reference_table


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTold:
    """A claim with its answer and its figure."""

    text: str
    answer: str
    figure: str
    reason: str
    """Empty where comparisons tell it."""
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsTold:
    """All that one run has found."""

    run: str
    """Its letter and name; empty where there is one run only."""
    overall: tuple[str, ...]
    races: tuple[Race, ...]
    trade_offs: tuple[str, ...]
    precisions: tuple[str, ...]
    claims: tuple[ClaimTold, ...]
    bottlenecks: tuple[tuple[str, str], ...]
    reference: ReferenceTable


def told_findings(runs: Sequence[SavedRun], found: Sequence[Findings]) -> tuple[FindingsTold, ...]:
    """Return the findings of each run."""
    return tuple(
        FindingsTold(
            run=f"{letter}: {run.name}" if letter else "",
            overall=each.overall,
            races=tuple(races_of(each.winners)),
            trade_offs=each.trade_offs,
            precisions=each.precisions,
            claims=tuple(_claim(claim) for claim in each.claims),
            bottlenecks=each.bottlenecks,
            reference=reference_table(run.records),
        )
        for letter, run, each in zip(letters_of(runs), runs, found, strict=True)
    )


def _claim(claim: Claim) -> ClaimTold:
    figure = ""
    if claim.value is not None:
        figure = f"{number(claim.value, decimals([claim.value]))} {claim.unit}".strip()
    if claim.interval is not None:
        low, high = (number(each, decimals([each])) for each in claim.interval)
        figure += f", 95% interval {low} to {high}"
    return ClaimTold(
        text=claim.text,
        answer=str(claim.answer),
        figure=figure,
        reason="" if claim.comparisons else claim.reason,
        comparisons=claim.comparisons,
    )
