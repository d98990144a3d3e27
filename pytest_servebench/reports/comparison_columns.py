"""The columns of a comparison, for the terminal and for markdown (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.changes import Change, ChangeVerdict
from pytest_servebench.comparison.side_by_side import ComparedFigure, SideBySide
from pytest_servebench.reports.comparison_words import (
    change_words,
    figure_words,
    interval_words,
    verdict_words,
)
from pytest_servebench.reports.numbers import numbers

INTERVAL = "95% interval"
MARKS = {
    ChangeVerdict.REGRESSION: "bold red",
    ChangeVerdict.IMPROVEMENT: "bold green",
    ChangeVerdict.INCONCLUSIVE: "yellow",
}
"""How a verdict is coloured."""

Cells = Callable[[ComparedFigure], Sequence[str]]
"""A row's lines in one column: one, or one for each run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonColumn:
    """One column."""

    header: str
    cells: Cells
    numeric: bool = True
    verdict_of: int | None = None
    """Whose verdict it is: the number of the change."""


def wide_columns(side: SideBySide, *, intervals: bool = True) -> list[ComparisonColumn]:
    """Return a column for each run's figure, then change, interval and verdict of each but the first."""
    columns = [ComparisonColumn(header="figure", cells=lambda row: [figure_words(row)], numeric=False)]
    columns += [
        ComparisonColumn(header=letter, cells=_value(number)) for number, letter in enumerate(side.letters)
    ]
    many = len(side.letters) > len("AB")
    for number, letter in enumerate(side.letters[1:]):
        of = f"\n{letter}" if many else ""
        columns.append(ComparisonColumn(header=f"change{of}", cells=_told(number, change_words)))
        if intervals:
            columns.append(ComparisonColumn(header=f"{INTERVAL}{of}", cells=_told(number, interval_words)))
        columns.append(
            ComparisonColumn(
                header=f"verdict{of}",
                cells=_told(number, verdict_words),
                numeric=False,
                verdict_of=number,
            )
        )
    return columns


def tall_columns(side: SideBySide, *, intervals: bool = True) -> list[ComparisonColumn]:
    """Return columns whose cells have a line for each run, for more runs than a line has room for."""
    blank = [""]
    told: list[tuple[str, Callable[[Change | None], str]]] = [("change", change_words)]
    told += [(INTERVAL, interval_words)] if intervals else []
    return [
        ComparisonColumn(header="figure", cells=lambda row: [figure_words(row)], numeric=False),
        ComparisonColumn(header="run", cells=lambda _: side.letters, numeric=False),
        ComparisonColumn(header="median", cells=lambda row: numbers(row.values)),
        *(ComparisonColumn(header=header, cells=_lines_of(blank, words)) for header, words in told),
        ComparisonColumn(header="verdict", cells=_lines_of(blank, verdict_words), numeric=False),
    ]


def _value(number: int) -> Cells:
    return lambda row: [numbers(row.values)[number]]


def _told(number: int, words: Callable[[Change | None], str]) -> Cells:
    return lambda row: [words(row.changes[number])]


def _lines_of(first: Sequence[str], words: Callable[[Change | None], str]) -> Cells:
    return lambda row: [*first, *map(words, row.changes)]
