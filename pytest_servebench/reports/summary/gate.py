"""What a session's gate said, as a part of the summary (pure)."""

from __future__ import annotations

from pytest_servebench.reports.comparison_markdown import code, doubts, notable
from pytest_servebench.reports.comparison_words import headline
from pytest_servebench.reports.saved_gate import SavedGate
from pytest_servebench.reports.summary.fitting import Part


def gate_part(gate: SavedGate, of_run: str = "") -> Part:
    """Return what the gate said, regressions first; ``of_run`` begins its title."""
    table, reasons = list(notable(gate.side)), list(doubts(gate.side))
    title = f"## {of_run}Gate against {code(gate.baseline)}: {gate.word}"
    return Part(
        name="the gate",
        head=(title, "", f"**{headline(gate.side)}**", "", *table[:2]),
        lines=(*table[2:], *([""] if table and reasons else []), *reasons),
    )
