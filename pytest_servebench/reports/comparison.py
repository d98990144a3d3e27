"""A comparison of saved runs as a person reads it in the terminal (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from pytest_servebench.comparison.side_by_side import ComparedFigure, SideBySide
from pytest_servebench.reports.comparison_columns import (
    INTERVAL,
    MARKS,
    ComparisonColumn,
    tall_columns,
    wide_columns,
)
from pytest_servebench.reports.comparison_words import (
    absent_lines,
    change_lines,
    compared_rows,
    difference_lines,
    headline,
    legend,
    one_sided_lines,
)
from pytest_servebench.reports.rendering import rendered

_GAP = 3
"""Columns of the terminal between two of the table."""
_INDENT = "  "
_BREAK = ": "
"""Where a verdict is broken into two lines."""

Layout = tuple[list[ComparisonColumn], bool, str]
"""Columns, whether verdicts are broken, and what was left out."""


def comparison_lines(side: SideBySide, *, width: int, colour: bool, encoding: str = "utf-8") -> list[str]:
    """Return the whole comparison: which run is which, a table by case, what counts, and the counts.

    ``width`` in columns; ``colour`` False gives plain text (NO_COLOR, no terminal);
    an ``encoding`` without line-drawing characters gets ASCII lines.
    """
    lines = [f"{letter}  {words}" for letter, words in legend(side)]
    lines += difference_lines(side)
    rows = compared_rows(side)
    columns, broken, left_out = _fitting(side, rows, width)
    widths = [_width(column, rows, broken=broken) for column in columns]
    for number, case in enumerate(dict.fromkeys(row.case for row in rows)):
        table = _table(columns, widths, [row for row in rows if row.case == case], broken=broken)
        table.show_header = number == 0
        body = rendered(table, width=max(width, _total(widths)), colour=colour, encoding=encoding)
        head = body[: _header_height(columns)] if number == 0 else []
        lines += ["", *head, *_folded(case, width), *body[len(head) :]]
    lines += ["", *(f"not shown at {width} columns: {left_out}" for _ in left_out[:1])]
    return [*lines, *absent_lines(side), *one_sided_lines(side), *change_lines(side), headline(side)]


def _fitting(side: SideBySide, rows: Sequence[ComparedFigure], width: int) -> Layout:
    """Return the first layout that fits, or the narrowest."""
    layouts: list[Layout] = [(wide_columns(side), broken, "") for broken in (False, True)]
    narrow = wide_columns
    if len(side.runs) > len("AB"):
        layouts.append((tall_columns(side), True, ""))
        narrow = tall_columns
    layouts.append((narrow(side, intervals=False), True, INTERVAL))
    for columns, broken, left_out in layouts:
        if _total([_width(column, rows, broken=broken) for column in columns]) <= width:
            return columns, broken, left_out
    return layouts[-1]


def _table(
    columns: Sequence[ComparisonColumn],
    widths: Sequence[int],
    rows: Sequence[ComparedFigure],
    *,
    broken: bool,
) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.header,
            justify="right" if column.numeric else "left",
            no_wrap=True,
            min_width=width,
            vertical="top",
        )
    for row in rows:
        table.add_row(*(_styled("\n".join(_lines(column, row, broken=broken))) for column in columns))
    return table


def _styled(text: str) -> Text:
    styled = Text(text)
    for verdict, style in MARKS.items():
        styled.highlight_words([str(verdict)], style)
    return styled


def _lines(column: ComparisonColumn, row: ComparedFigure, *, broken: bool) -> list[str]:
    """Return a cell's lines; a broken verdict's second line moves those below it in every column alike."""
    cells = list(column.cells(row))
    if len(cells) > 1 or not broken:
        return cells
    return cells[0].replace(_BREAK, f"{_BREAK.strip()}\n").split("\n")


def _width(column: ComparisonColumn, rows: Sequence[ComparedFigure], *, broken: bool) -> int:
    texts = [line for row in rows for line in _lines(column, row, broken=broken)]
    return max(map(cell_len, [*column.header.split("\n"), *texts]))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _header_height(columns: Sequence[ComparisonColumn]) -> int:
    return max(column.header.count("\n") for column in columns) + 2


def _folded(case: str, width: int) -> list[str]:
    """Return a case's name in lines of the terminal, whole."""
    parts = [case[:width]]
    rest, step = case[width:], max(1, width - len(_INDENT))
    return parts + [_INDENT + rest[at : at + step] for at in range(0, len(rest), step)]
