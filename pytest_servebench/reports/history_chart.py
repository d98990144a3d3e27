"""A series drawn with characters (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import median

from pytest_servebench.comparison.history import Series
from pytest_servebench.reports.numbers import numbers

ROWS = 6
"""Lines of a chart; a dot is half as high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pencil:
    """The characters that a chart is drawn with."""

    upper: str
    lower: str
    level: str
    turn: str
    axis: str


BLOCKS = Pencil(upper="▀", lower="▄", level="─", turn="┊", axis="│")
ASCII = Pencil(upper="*", lower="*", level="-", turn=":", axis="|")


def pencil_for(encoding: str) -> Pencil:
    """Return what an encoding has characters for."""
    try:
        "".join(astuple(BLOCKS)).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def chart_lines(series: Series, *, width: int, pencil: Pencil = BLOCKS) -> list[str]:
    """Return values as dots, levels and changes as lines, and the first and last day.

    More runs than there is room for share a column, which shows their median.
    """
    values = [point.value for point in series.points]
    low, high = min(values), max(values)
    labels = numbers([high, low])
    margin = max(map(len, labels))
    columns = _columns(len(values), max(1, width - margin - 2))
    rows = [[" "] * len(columns) for _ in range(ROWS)]
    _draw_levels(rows, series, columns, (low, high), pencil)
    for number, column in enumerate(columns):
        dot = _height(median(values[column.start : column.stop]), low, high)
        row = rows[ROWS - 1 - dot // 2]
        row[number] = pencil.upper if dot % 2 else pencil.lower
    sides = [labels[0].rjust(margin), *[" " * margin] * (ROWS - 2), labels[1].rjust(margin)]
    lines = [f"{side} {pencil.axis}{''.join(row)}".rstrip() for side, row in zip(sides, rows, strict=True)]
    return [*lines, f"{' ' * (margin + 2)}{_days(series, len(columns))}"]


def _draw_levels(
    rows: list[list[str]],
    series: Series,
    columns: Sequence[range],
    scale: tuple[float, float],
    pencil: Pencil,
) -> None:
    turns = {turn.at for turn in series.turns}
    for number, column in enumerate(columns):
        if turns & set(column):
            for row in rows:
                row[number] = pencil.turn
            continue
        level = next(value for begin, end, value in series.levels if begin <= column.start < end)
        rows[ROWS - 1 - _height(level, *scale) // 2][number] = pencil.level


def _columns(count: int, room: int) -> list[range]:
    """Return the points of each column: one each where there is room."""
    used = min(count, room)
    bounds = [at * count // used for at in range(used + 1)]
    return [range(bounds[at], bounds[at + 1]) for at in range(used)]


def _height(value: float, low: float, high: float) -> int:
    """Return in which half row from below a value lies."""
    if high == low:
        return ROWS
    return min(2 * ROWS - 1, int((value - low) / (high - low) * 2 * ROWS))


def _days(series: Series, room: int) -> str:
    first, last = (point.run.started.date().isoformat() for point in (series.points[0], series.points[-1]))
    if first == last:
        return first
    return f"{first}{last.rjust(max(room - len(first), len(last) + 1))}"
