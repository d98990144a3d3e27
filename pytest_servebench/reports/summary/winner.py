"""The first sentence of a summary: who won, in what, by how much; or why nobody did (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_servebench.reports.findings import Findings, Winner
from pytest_servebench.reports.numbers import numbers
from pytest_servebench.reports.row import Row

_DECIDING = ("p95", "throughput", "holds", "capacity")
"""Words in the names of figures that a stack is chosen by."""
_MOST = 2
"""Figures that a sentence has room for."""


def winner_sentence(findings: Findings, rows: Sequence[Row]) -> str:
    """Return one sentence, in plain text, of one run."""
    if not findings.winners:
        return _why_nobody(rows)
    winners = [each for each in findings.winners if any(word in each.figure for word in _DECIDING)]
    winners = winners or list(findings.winners)
    alike = [each for each in winners if each.asked == winners[0].asked][:_MOST]
    return "; ".join(map(_told, alike)) + _doubt(alike)


def _doubt(winners: Sequence[Winner]) -> str:
    if all(each.certain for each in winners):
        return ""
    repeated = all(each.interval is not None for each in winners)
    return "; intervals overlap, so it may be chance" if repeated else "; not repeated, so it may be chance"


def _told(winner: Winner) -> str:
    (value,) = numbers([winner.value])
    unit = f" {winner.unit}" if winner.unit else ""
    if winner.is_level:
        return f"{winner.figure}: no winner, {winner.level} are level ({value}{unit})"
    behind = (
        f", {100 * winner.margin:.0f}% better than {winner.runner_up}"
        if winner.margin is not None and winner.runner_up
        else ""
    )
    return f"{winner.figure}: {winner.case} ({value}{unit}{behind})"


def _why_nobody(rows: Sequence[Row]) -> str:
    believed = [row for row in rows if row.is_believed]
    if not believed:
        words = Counter(row.verdict for row in rows)
        reasons = ", ".join(f"{count} {word}" for word, count in words.items())
        return f"No winner: no case may be believed ({reasons})"
    if len(believed) == 1:
        return "No winner: one case may be believed, and nothing is beside it"
    return f"{len(believed)} cases measured; what is best of those that were asked alike is in bold"
