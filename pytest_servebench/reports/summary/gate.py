"""What a session's gate has saved beside its records, as a part of the summary (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.side_by_side import ComparedFigure, SideBySide
from pytest_servebench.reports.comparison_markdown import code, doubts, notable
from pytest_servebench.reports.comparison_words import headline
from pytest_servebench.reports.summary.fitting import Part


def gate_part(run: SavedRun) -> Part | None:
    """Return what the gate said, regressions first; None where no gate judged, or what it saved is broken."""
    gate = next((fact["gate"] for fact in run.facts if isinstance(fact.get("gate"), Mapping)), None)
    try:
        return None if gate is None else _part(gate, run)
    except (KeyError, TypeError, ValueError):  # somebody has edited it
        return None


def _part(gate: Mapping[str, Any], run: SavedRun) -> Part:
    baseline = SavedRun(name=str((gate.get("baseline") or {}).get("name") or "baseline"), records=())
    rows = tuple(_row(change) for change in gate["changes"])
    side = SideBySide(runs=(baseline, run), rows=rows)
    word = "failed" if gate.get("failed") else "passed"
    table, reasons = list(notable(side)), list(doubts(side))
    return Part(
        name="the gate",
        head=(f"### Gate against {code(baseline.name)}: {word}", "", f"**{headline(side)}**", "", *table[:2]),
        lines=(*table[2:], *([""] if table and reasons else []), *reasons),
    )


def _row(saved: Mapping[str, Any]) -> ComparedFigure:
    change = _change(saved)
    return ComparedFigure(
        case=change.case, figure=change.figure, values=(change.baseline, change.now), changes=(change,)
    )


def _change(saved: Mapping[str, Any]) -> Change:
    interval = saved["interval"]
    return Change(
        case=str(saved["case"]),
        figure=str(saved["figure"]),
        unit=str(saved["unit"]),
        verdict=ChangeVerdict(saved["verdict"]),
        doubt=Doubt(saved["doubt"]) if saved["doubt"] else None,
        reason=str(saved["reason"]),
        remedy=str(saved["remedy"]),
        baseline=saved["baseline"],
        now=saved["now"],
        change=saved["change"],
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        limit=saved["limit"],
        p_value=saved["p_value"],
    )
