"""Repeats as a person reads them: the header's line, and one row for all replicates of a case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from statistics import median
from typing import Any

from pytest_servebench.comparison.replicates import replicates_of
from pytest_servebench.plan import Plan
from pytest_servebench.reports.evidence import joined_evidence
from pytest_servebench.reports.row import VALID, Row
from pytest_servebench.results import Judgement, Validity

FIGURES = tuple(each.name for each in fields(Row) if each.type == "float | None")
"""Whatever a row has of numbers is joined as their median; a new figure needs no line here."""
WORST_FIRST = (
    Validity.WRONG_OUTPUT,
    Validity.WRONG_BACKEND,
    Validity.ERRORS,
    Validity.UNDECIDED,
    Validity.CLIENT_LIMITED,
    Validity.UNSTABLE,
    Validity.VALID,
)
GRAVEST_FIRST = (Judgement.FAIL, Judgement.INCONCLUSIVE, Judgement.UNGATED, Judgement.PASS)
LEGEND = (
    "repeats: figures are medians of the valid ones; +-%: how far the median of all possible starts "
    "may be off (95% confidence interval, its longer arm); nothing is best whose interval overlaps another's"
)


def repeats_text(plan: Plan) -> str:
    """Return how often what is measured, and in which order; empty where nothing is repeated."""
    if plan.repeats == 1:
        return ""
    turns = " ".join(plan.stacks)
    order = f": {turns}, {turns}, ..." if len(plan.stacks) > 1 else ""
    running = ", ".join(stack for stack in plan.stacks if stack in plan.attached)
    but = f"; {running} runs already and is not restarted" if running else ""
    return f"{plan.repeats}, each with a server started anew{order}{but}"


def joined_rows(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each case, in order of first appearance: of one that is repeated, what joins them."""
    found = []
    for replicates in replicates_of(records).values():
        rows = [Row.from_record(record) for record in replicates]
        numbered = tuple(row for row in rows if row.repeat is not None)
        found += [row for row in rows if row.repeat is None]
        found += [joined(numbered)] if numbered else []
    return found


def joined(replicates: tuple[Row, ...]) -> Row:
    """Return the row of all replicates of a case, as bad as the worst of them."""
    believed = [row for row in replicates if row.validity == VALID] or replicates
    worst = min(replicates, key=lambda row: WORST_FIRST.index(Validity(row.validity)))
    gravest = min(replicates, key=_gravity)
    figures: dict[str, Any] = {name: _median(believed, name) for name in FIGURES}
    replies = _median(believed, "replies")
    return replace(
        replicates[0],
        **figures,
        replies=None if replies is None else round(replies),
        validity=worst.validity,
        reason=worst.reason,
        judgement=gravest.judgement,
        verdict_reason=gravest.verdict_reason,
        breaches=(),
        repeat=None,
        restarted=all(row.restarted for row in replicates),
        replicates=replicates,
        evidence=replace(
            joined_evidence([row.evidence for row in believed]), validity=worst.validity, reason=worst.reason
        ),
    )


def repeats_legend(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what has to be known of joined rows, and which of them lack something."""
    if any(row.replicates for row in rows):
        yield LEGEND
    for row in rows:
        if row.replicates and len(row.replicates) < row.repeats:
            yield f"missing: {row.label}: {len(row.replicates)} of {row.repeats} repeats were measured"
    for stack in dict.fromkeys(row.stack for row in rows if row.replicates and not row.restarted):
        yield f"no interval: {stack} was not restarted, so nothing tells how its starts differ"


def _gravity(row: Row) -> int:
    judgement = None if row.judgement is None else Judgement(row.judgement)
    return len(GRAVEST_FIRST) if judgement is None else GRAVEST_FIRST.index(judgement)


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    return median(values) if values else None
