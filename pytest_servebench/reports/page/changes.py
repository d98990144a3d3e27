"""What has changed between runs, as a table of the page (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from pytest_servebench.comparison.changes import ChangeVerdict
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.side_by_side import side_by_side
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


def changes_between(runs: Sequence[SavedRun]) -> ChangesBetweenRuns | None:
    """Return what has changed; None for one run, or more than a comparison takes."""
    if not 1 < len(runs) <= len(ascii_uppercase):
        return None
    side = side_by_side(runs)
    told = tuple(f"{letter}: {words}" for letter, words in legend(side))
    if not side.has_something_in_common:
        return ChangesBetweenRuns(headline=nothing_in_common(side), runs=told)
    columns, rows = wide_columns(side), compared_rows(side)
    return ChangesBetweenRuns(
        headline=headline(side),
        runs=told,
        lines=(*difference_lines(side), *one_sided_lines(side), *absent_lines(side), *change_lines(side)),
        heads=tuple((column.header.replace("\n", " "), column.numeric) for column in columns),
        cases=tuple(
            ChangedCase(
                case=case,
                rows=tuple(
                    tuple(" ".join(column.cells(row)) for column in columns)
                    for row in rows
                    if row.case == case
                ),
            )
            for case in dict.fromkeys(row.case for row in rows)
        ),
    )
