"""The summary tables: one for each benchmark, from the columns that the terminal has (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_servebench.reports.page.cases import PageCase
from pytest_servebench.reports.page.doubts import in_short, is_good, reasons_of
from pytest_servebench.reports.page.meanings import COLUMN_MEANINGS
from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.table import (
    BEST,
    PRECISION_HEADER,
    TITLED_ON_THE_PAGE,
    Column,
    cells,
    split_constants,
    winners,
)

VERDICT = "verdict"
_FORMS = ("format", PRECISION_HEADER)
_NAMES = ("stack", *_FORMS)
"""Columns that name a case."""
_SHORT = 10
"""Letters up to which a cell's words stay on one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A column's head."""

    text: str
    meaning: str
    numeric: bool
    form: bool = False
    """Whether it is of what a small screen tells below the stack's name."""

    @property
    def kind(self) -> str:
        """The classes it is drawn by."""
        return " ".join(_classes(number=self.numeric, form=self.form))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure or a word."""

    text: str
    numeric: bool
    sort: float | str | None
    """What it is sorted by; None: it is missing, and comes last."""
    best: bool = False
    form: bool = False
    """Whether it is of what a small screen tells below the stack's name."""

    @property
    def kind(self) -> str:
        """The classes it is drawn by."""
        missing = self.numeric and self.sort is None
        short = not self.numeric and len(self.text) <= _SHORT
        found = _classes(number=self.numeric, best=self.best, missing=missing, short=short, form=self.form)
        return " ".join(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A case in the table: its cells, and between them its verdict."""

    case: PageCase
    name: tuple[Cell, ...]
    """Stack, format and precision as the table has them, and the run where there are several."""
    figures: tuple[Cell, ...]
    begins_group: bool
    """Whether it was asked otherwise than the case above it."""

    @property
    def verdict(self) -> str:
        """The word."""
        return self.case.row.verdict

    @property
    def good(self) -> bool:
        """Whether it may be believed, and no limit was broken."""
        return is_good(self.case.row)

    @property
    def briefly(self) -> tuple[str, ...]:
        """The reasons' first clauses."""
        return tuple(dict.fromkeys(map(in_short, self.reasons)))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not valid, which limits do not hold, and why it could not be judged."""
        return reasons_of(self.case.row)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryTable:
    """All cases of one benchmark."""

    anchor: str
    benchmark: str
    title: str
    """What all cases share."""
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


def summary_tables(cases: Sequence[PageCase]) -> tuple[SummaryTable, ...]:
    """Return a table for each benchmark, in order of first appearance."""
    names = list(dict.fromkeys(case.row.benchmark for case in cases))
    return tuple(
        _table(number, [case for case in cases if case.row.benchmark == name])
        for number, name in enumerate(names, 1)
    )


def heading_text(column: Column) -> str:
    """Return a column's header in one line."""
    return column.header.replace("\n", " ")


def _table(number: int, unsorted: Sequence[PageCase]) -> SummaryTable:
    chosen = _side_by_side(unsorted)
    rows = [case.row for case in chosen]
    title, columns = split_constants(rows, TITLED_ON_THE_PAGE)
    columns = [column for column in columns if column.header != VERDICT]
    by_column = [_column_cells(column, chosen) for column in columns]
    runs = [_run_cell(case) for case in chosen] if any(case.letter for case in chosen) else []
    count = _naming(columns)
    named = [*by_column[:count], *([runs] if runs else [])]
    by_column = [*named, *by_column[count:]]
    groups = [row.group for row in rows]
    return SummaryTable(
        anchor=f"table-{number}",
        benchmark=rows[0].benchmark,
        title=title,
        headings=_headings(columns, many_runs=bool(runs)),
        lines=tuple(
            Line(
                case=case,
                name=tuple(column[at] for column in named),
                figures=tuple(column[at] for column in by_column[len(named) :]),
                begins_group=at > 0 and groups[at] != groups[at - 1],
            )
            for at, case in enumerate(chosen)
        ),
    )


def _headings(columns: Sequence[Column], *, many_runs: bool) -> tuple[Heading, ...]:
    found = [
        Heading(
            text=text.replace("- ", ""),
            meaning=COLUMN_MEANINGS.get(text, ""),
            numeric=each.numeric,
            form=each.header in _FORMS,
        )
        for each in columns
        if (text := heading_text(each))
    ]
    verdict = Heading(text=VERDICT, meaning=COLUMN_MEANINGS[VERDICT], numeric=False)
    run = [Heading(text="run", meaning="which run it is of", numeric=False)] * many_runs
    count = _naming(columns)
    return (*found[:count], *run, verdict, *found[count:])


def _naming(columns: Sequence[Column]) -> int:
    """Return how many columns, which are the first, name a case."""
    return sum(column.header in _NAMES for column in columns)


def _side_by_side(cases: Sequence[PageCase]) -> list[PageCase]:
    """Return cases that were asked alike together, and in these one case of several runs."""
    groups = list(dict.fromkeys(case.row.group for case in cases))
    names = list(dict.fromkeys((case.row.stack, case.row.form) for case in cases))
    several = any(case.letter for case in cases)
    return sorted(
        cases,
        key=lambda case: (
            groups.index(case.row.group),
            names.index((case.row.stack, case.row.form)) if several else 0,
        ),
    )


def _column_cells(column: Column, cases: Sequence[PageCase]) -> list[Cell]:
    """Return a column's cells; a race is among the cases of one run."""
    rows = [case.row for case in cases]
    won = _won(column, cases)
    return [
        Cell(
            text=text.removeprefix(BEST),
            numeric=column.numeric,
            sort=_sort(column, row, text),
            best=at in won,
            form=column.header in _FORMS,
        )
        for at, (row, text) in enumerate(zip(rows, cells(column, rows), strict=True))
    ]


def _sort(column: Column, row: Row, text: str) -> float | str | None:
    value = column.value(row)
    if value is None or text.removeprefix(BEST) == NOT_AVAILABLE:
        return None
    return float(value) if column.numeric else str(value)


def _won(column: Column, cases: Sequence[PageCase]) -> set[int]:
    found: set[int] = set()
    for run in {case.run for case in cases}:
        own = [at for at, case in enumerate(cases) if case.run == run]
        found |= {own[at] for at in winners(column, [cases[each].row for each in own])}
    return found


def _classes(**kinds: bool) -> Iterator[str]:
    return (name for name, holds in kinds.items() if holds)


def _run_cell(case: PageCase) -> Cell:
    return Cell(text=case.letter, numeric=False, sort=case.letter)
