"""What has changed between runs, or since a baseline, as tables of the page (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from pytest_servebench.comparison.changes import ChangeVerdict
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.side_by_side import ComparedFigure, SideBySide, side_by_side
from pytest_servebench.reports.comparison_columns import wide_columns
from pytest_servebench.reports.comparison_words import (
    absent_lines,
    change_lines,
    compared_rows,
    difference_lines,
    headline,
    legend,
    nothing_in_common,
    one_sided_lines,
)
from pytest_servebench.reports.page.cases import letters_of
from pytest_servebench.reports.saved_gate import SavedGate, saved_gate


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedCase:
    """The figures of one case in every run."""

    case: str
    rows: tuple[tuple[str, ...], ...]

    @property
    def bad(self) -> tuple[bool, ...]:
        """Which rows end with a regression."""
        return tuple(row[-1].startswith(ChangeVerdict.REGRESSION) for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesBetweenRuns:
    """Runs, the first being the baseline of all others."""

    headline: str
    runs: tuple[str, ...]
    lines: tuple[str, ...] = ()
    """What counts, a sentence each."""
    heads: tuple[tuple[str, bool], ...] = ()
    """Of each column its words, and whether it is of numbers."""
    cases: tuple[ChangedCase, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateTold:
    """What the gate of a session said of its run."""

    title: str
    failed: bool
    sentence: str
    """Whether it failed, and how many changes of which kind there are."""
    lines: tuple[str, ...]
    """What counts, a sentence each."""
    heads: tuple[tuple[str, bool], ...]
    cases: tuple[ChangedCase, ...]


def changes_between(runs: Sequence[SavedRun]) -> ChangesBetweenRuns | None:
    """Return what has changed; None for one run, or more than a comparison takes."""
    if not 1 < len(runs) <= len(ascii_uppercase):
        return None
    side = side_by_side(runs)
    told = tuple(f"{letter}: {words}" for letter, words in legend(side))
    if not side.has_something_in_common:
        return ChangesBetweenRuns(headline=nothing_in_common(side), runs=told)
    return ChangesBetweenRuns(
        headline=headline(side),
        runs=told,
        lines=(*difference_lines(side), *one_sided_lines(side), *absent_lines(side), *change_lines(side)),
        heads=_heads(side),
        cases=_changed_cases(side, compared_rows(side)),
    )


def gates_of(runs: Sequence[SavedRun]) -> tuple[GateTold, ...]:
    """Return what the gates of sessions said, with the runs' letters where there are several."""
    told = zip(letters_of(runs), map(saved_gate, runs), strict=True)
    return tuple(_gate_told(letter, gate) for letter, gate in told if gate is not None)


def _gate_told(letter: str, gate: SavedGate) -> GateTold:
    side = gate.side
    of_run = f" of {letter}" if letter else ""
    return GateTold(
        title=f"Gate{of_run} against {gate.baseline}",
        failed=gate.failed,
        sentence=f"{gate.word}: {headline(side)}",
        lines=tuple(change_lines(side)),
        heads=tuple((_gate_head(head, gate), numeric) for head, numeric in _heads(side)),
        cases=_changed_cases(side, [row for row in side.rows if row.is_limited]),
    )


def _gate_head(head: str, gate: SavedGate) -> str:
    """Return a column's words, with names in place of the letters of runs."""
    return {"A": gate.baseline, "B": "now"}.get(head, head)


def _heads(side: SideBySide) -> tuple[tuple[str, bool], ...]:
    return tuple((column.header.replace("\n", " "), column.numeric) for column in wide_columns(side))


def _changed_cases(side: SideBySide, rows: Sequence[ComparedFigure]) -> tuple[ChangedCase, ...]:
    columns = wide_columns(side)
    return tuple(
        ChangedCase(
            case=case,
            rows=tuple(
                tuple(" ".join(column.cells(row)) for column in columns) for row in rows if row.case == case
            ),
        )
        for case in dict.fromkeys(row.case for row in rows)
    )
