"""The history of many runs as a person or a program reads it (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pytest_servebench.comparison.change_points import FEWEST
from pytest_servebench.comparison.chronicle import Chronicle, Measured
from pytest_servebench.comparison.history import Series, Turn
from pytest_servebench.comparison.sentences import percent
from pytest_servebench.reports.history_chart import chart_lines, pencil_for
from pytest_servebench.reports.numbers import numbers
from pytest_servebench.reports.rendering import natural_width, rendered

SCHEMA = 1
"""Of the JSON; raised when a field changes its meaning or goes away."""
_HEADERS = ("figure", "runs", "was", "is", "change", "", "since")
_NUMERIC = (False, True, True, True, True, False, False)
_STYLES = {"worse": "bold red", "better": "bold green"}
_MOST_LEFT_OUT = 5
"""Files that are named."""


def history_lines(
    chronicle: Chronicle, series: Sequence[Series], *, width: int, colour: bool, encoding: str = "utf-8"
) -> list[str]:
    """Return the latest of every series, a chart of each that changed, and what could not be judged.

    ``width`` in columns; ``colour`` False gives plain text (NO_COLOR, no terminal); an ``encoding``
    without block characters gets ASCII charts.
    """
    lines = [_span(chronicle), *_left_out(chronicle)]
    for case in dict.fromkeys(each.case for each in series):
        for number in dict.fromkeys(each.number for each in series if each.case == case):
            chosen = [each for each in series if each.case == case and each.number == number]
            table = _table(chosen)
            shown = rendered(table, width=max(width, natural_width(table)), colour=colour, encoding=encoding)
            lines += ["", case_words(chosen[0]), *shown]
    for each in series:
        if each.turns:
            chart = chart_lines(each, width=width, pencil=pencil_for(encoding))
            lines += [
                "",
                f"{case_words(each)}: {figure_words(each)}",
                *chart,
                *(turn_sentence(each, turn) for turn in each.turns),
            ]
    return [*lines, "", *unusable_lines(series), *short_lines(series), counts(series)]


def counts(series: Sequence[Series]) -> str:
    """Return ``3 changes in 48 series: 2 for the worse, 1 for the better``."""
    turns = [turn for each in series for turn in each.turns]
    worse = sum(turn.is_worse for turn in turns)
    if not turns:
        judged = sum(each.is_judged for each in series)
        return f"no change in {judged} of {len(series)} series" if judged else "no series has enough runs"
    found = f"{len(turns)} change{'s' * (len(turns) > 1)} in {len(series)} series"
    told = [f"{worse} for the worse"] * bool(worse) + [f"{len(turns) - worse} for the better"] * (
        worse < len(turns)
    )
    return f"{found}: {', '.join(told)}"


def short_lines(series: Sequence[Series]) -> list[str]:
    """Return one line on the series that have too few runs for anything to be said, by how many they have."""
    short: dict[int, int] = {}
    for each in series:
        if not each.is_judged:
            short[len(each.points)] = short.get(len(each.points), 0) + 1
    return [
        f"not judged: {count} series with {runs} run{'s' * (runs > 1)}"
        f": it takes {FEWEST} to tell a change from chance"
        for runs, count in sorted(short.items())
    ]


def unusable_lines(series: Sequence[Series]) -> list[str]:
    """Return a line for each series that runs are missing from."""
    return [
        f"not used: {each.unusable} of {each.unusable + len(each.points)} runs of {case_words(each)}: "
        f"not valid, or without {each.figure.name}"
        for each in series
        if each.unusable
    ]


def case_words(series: Series) -> str:
    """Return the case, and of a series that is not its first what sets it apart."""
    if series.number == 1:
        return series.case
    return f"{series.case}, series {series.number} ({series.differs})"


def figure_words(series: Series) -> str:
    """Return ``p95 ms``."""
    return f"{series.figure.name} {series.figure.unit}".rstrip()


def direction(turn: Turn) -> str:
    """Return ``worse`` or ``better``."""
    return "worse" if turn.is_worse else "better"


def run_words(run: Measured) -> str:
    """Return a run's name, when it was measured and of which commit."""
    words = (minute(run.started), f"commit {run.commit}" if run.commit else "")
    return f"{run.name} ({', '.join(word for word in words if word)})"


def minute(instant: datetime) -> str:
    """Return ``2026-11-22 10:00``, in UTC."""
    return instant.strftime("%Y-%m-%d %H:%M")


def turn_sentence(series: Series, turn: Turn) -> str:
    """Return ``worse: CASE: p95 10.0 -> 10.8 ms, +8%, since RUN (DATE, COMMIT): 25 runs before, 6 since``."""
    bounds = [begin for begin, _, _ in series.levels] + [len(series.points)]
    at = bounds.index(turn.at)
    before, since = bounds[at] - bounds[at - 1], bounds[at + 1] - bounds[at]
    was, now = numbers([turn.before, turn.after])
    unit = f" {series.figure.unit}".rstrip()
    return (
        f"{direction(turn)}: {series.case}: {series.figure.name} {was} -> {now}{unit}, "
        f"{percent(turn.change)}, since {run_words(series.points[turn.at].run)}: "
        f"{before} runs before, {since} since"
    )


def history_json(chronicle: Chronicle, series: Sequence[Series]) -> str:
    """Return strict JSON: runs, and series with their points and changes."""
    content = {
        "schema": SCHEMA,
        "runs": [
            {
                "name": run.name,
                "file": str(run.path),
                "started": run.started.isoformat(),
                "commit": run.commit or None,
            }
            for run in chronicle.runs
        ],
        "left_out": list(chronicle.left_out),
        "series": [_series_data(each) for each in series],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _series_data(series: Series) -> dict[str, Any]:
    return {
        "case": series.case,
        "figure": series.figure.name,
        "unit": series.figure.unit,
        "series": series.number,
        "differs": series.differs or None,
        "is_current": series.is_current,
        "is_judged": series.is_judged,
        "unusable_runs": series.unusable,
        "points": [
            {
                "run": point.run.name,
                "started": point.run.started.isoformat(),
                "median": point.value,
                "replicates": point.replicates,
            }
            for point in series.points
        ],
        "changes": [
            {
                "run": series.points[turn.at].run.name,
                "started": series.points[turn.at].run.started.isoformat(),
                "commit": series.points[turn.at].run.commit or None,
                "point": turn.at,
                "before": turn.before,
                "after": turn.after,
                "change_percent": round(100 * turn.change, 9),
                "direction": direction(turn),
            }
            for turn in series.turns
        ],
    }


def _table(series: Sequence[Series]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for header, numeric in zip(_HEADERS, _NUMERIC, strict=True):
        table.add_column(header, justify="right" if numeric else "left", no_wrap=True)
    for each in series:
        cells = _cells(each)
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    return table


def _cells(series: Series) -> list[str]:
    """Return a series' latest change; of one without, its level."""
    first, runs = figure_words(series), str(len(series.points))
    if not series.turns:
        level = numbers([series.levels[-1][2]])[0]
        return [first, runs, "", level, "", "" if series.is_judged else "too few", ""]
    turn = series.turns[-1]
    since = series.points[turn.at].run.started.date().isoformat()
    return [first, runs, *numbers([turn.before, turn.after]), percent(turn.change), direction(turn), since]


def _span(chronicle: Chronicle) -> str:
    runs = chronicle.runs
    if len(runs) == 1:
        return f"1 run, {run_words(runs[0])}"
    return f"{len(runs)} runs, {minute(runs[0].started)} to {minute(runs[-1].started)} UTC"


def _left_out(chronicle: Chronicle) -> Iterator[str]:
    for text in chronicle.left_out[:_MOST_LEFT_OUT]:
        yield f"left out: {text}"
    if len(chronicle.left_out) > _MOST_LEFT_OUT:
        yield f"left out: {len(chronicle.left_out) - _MOST_LEFT_OUT} more"
