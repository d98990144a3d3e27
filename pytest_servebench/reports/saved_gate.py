"""What a session's gate has saved beside its records, read again (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.side_by_side import ComparedFigure, SideBySide


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedGate:
    """What a gate said of a run."""

    baseline: str
    """The name of what the run was compared with."""
    failed: bool
    side: SideBySide
    """The baseline, of which no records were saved, and the run."""

    @property
    def word(self) -> str:
        """Whether it turned the session red."""
        return "failed" if self.failed else "passed"


def saved_gate(run: SavedRun) -> SavedGate | None:
    """Return what the gate said; None where no gate judged, or what it saved is broken."""
    gate = next((fact["gate"] for fact in run.facts if isinstance(fact.get("gate"), Mapping)), None)
    try:
        return None if gate is None else _read(gate, run)
    except (KeyError, TypeError, ValueError):  # somebody has edited it
        return None


def _read(gate: Mapping[str, Any], run: SavedRun) -> SavedGate:
    baseline = SavedRun(name=str((gate.get("baseline") or {}).get("name") or "baseline"), records=())
    rows = tuple(_row(change) for change in gate["changes"])
    return SavedGate(
        baseline=baseline.name,
        failed=bool(gate.get("failed")),
        side=SideBySide(runs=(baseline, run), rows=rows),
    )


def _row(saved: Mapping[str, Any]) -> ComparedFigure:
    change = _change(saved)
    return ComparedFigure(
        case=change.case, figure=change.figure, values=(change.baseline, change.now), changes=(change,)
    )


def _change(saved: Mapping[str, Any]) -> Change:
    interval, (before, now) = saved["interval"], saved["replicates"]
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
        replicates=(int(before), int(now)),
    )
