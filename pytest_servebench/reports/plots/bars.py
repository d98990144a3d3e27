"""Bars of cases: what was asked alike stands together, each bar with its figure beside it (pure).

A case has a line for its name and one for each of its bars, so that names are never cut on a phone, and
nothing is told by colour alone. Cases that were asked otherwise may differ a hundredfold: with several
groups each has its own scale, and the figures are what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from textwrap import shorten

from pytest_servebench.comparison.intervals import Interval
from pytest_servebench.reports.plots.look import BAD, FAINT, INK, Data, Spec, figure, framed
from pytest_servebench.reports.plots.shown import ShownCase, finite
from pytest_servebench.reports.row import Row

_LINE_PX = 17
_LETTER_PX, _NARROW_PX = 7, 290
"""A letter, and how wide bars and their figures are together on a phone."""
_REASON_LETTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What a bar is as long as."""

    name: str
    """In words, for tooltips: ``p95``."""
    value: Callable[[Row], float | None]
    unit: str
    short: str = ""
    """At the axis, where a case has several bars."""
    limit: Callable[[Row], float | None] = lambda _: None
    """What a tick marks that the bar could reach."""
    opacity: float = 1.0

    def of(self, row: Row) -> float | None:
        """Return the figure of a row that can be drawn."""
        return finite(self.value(row))

    def interval(self, row: Row) -> Interval | None:
        """Return its interval over repeats."""
        across = row.across(self.value)
        return None if across is None else across.interval


@dataclass(slots=True)
class _Lines:
    """What stands on the lines of a plot, by kind of mark."""

    ids: list[str] = field(default_factory=list)
    heads: list[Data] = field(default_factory=list)
    names: list[Data] = field(default_factory=list)
    bars: list[Data] = field(default_factory=list)
    doubtful: list[Data] = field(default_factory=list)
    missing: list[Data] = field(default_factory=list)

    def next(self, short: str = "") -> str:
        """Return a line below the others; its first four letters only tell it from others."""
        self.ids.append(f"{len(self.ids):03d} {short}")
        return self.ids[-1]


def bars_spec(cases: Sequence[ShownCase], measures: Sequence[Measure], *, axis: str, says: str) -> Spec:
    """Return the specification of bars for all cases; ``axis`` is the scale's title, ``says`` its text."""
    lines = _Lines()
    groups = [list(alike) for _, alike in groupby(cases, key=lambda case: case.group)]
    for alike in groups:
        end = _longest(alike, measures)
        _add_group(lines, alike, measures, end if len(groups) > 1 else 1.0)
    longest = _longest(cases, measures) if len(groups) == 1 else 1.0
    several = len(groups) > 1
    x_axis: Spec = {"title": axis, "tickCount": 4}
    if several:
        x_axis = {"title": f"{axis}; a scale for each group", "labels": False, "ticks": False}
    return framed(
        says,
        height=_LINE_PX * len(lines.ids),
        encoding={
            "y": {
                "field": "line",
                "type": "ordinal",
                "scale": {"domain": lines.ids, "paddingInner": 0.12, "paddingOuter": 0},
                "axis": {
                    "title": None,
                    "labelExpr": "slice(datum.label, 4)",
                    "ticks": False,
                    "domain": False,
                    "labelColor": FAINT,
                },
            }
        },
        layer=_layers(
            lines, {"domain": [0, _room(lines) * longest], "nice": False}, {**x_axis, "grid": not several}
        ),
    )


def _room(lines: _Lines) -> float:
    """Return the scale's end as a multiple of the longest bar: the rest is for the figure beside it."""
    letters = max((len(bar["text"]) for bar in (*lines.bars, *lines.doubtful)), default=0)
    return 1 / (1 - min(0.6, (letters * _LETTER_PX + 8) / _NARROW_PX))


def _longest(cases: Sequence[ShownCase], measures: Sequence[Measure]) -> float:
    found = [1e-12]
    for case in cases:
        for measure in measures:
            interval = measure.interval(case.row)
            several = (measure.of(case.row), finite(measure.limit(case.row)), interval and interval[1])
            found += [value for value in several if value is not None]
    return max(found)


def _add_group(lines: _Lines, cases: Sequence[ShownCase], measures: Sequence[Measure], scale: float) -> None:
    lines.heads.append({"line": lines.next(), "text": cases[0].asked})
    for case in cases:
        name = {"line": lines.next(), "text": case.name, "colour": BAD if case.doubt else INK}
        lines.names.append(name)
        for measure in measures:
            line = lines.next(measure.short)
            if measure.of(case.row) is None:
                missing = f"n/a ({case.doubt})" if case.doubt else "n/a"
                lines.missing.append({"line": line, "text": missing})
            else:
                (lines.doubtful if case.doubt else lines.bars).append(_bar(line, case, measure, scale))
    lines.next()


def _bar(line: str, case: ShownCase, measure: Measure, scale: float) -> Data:
    value, interval, limit = measure.of(case.row), measure.interval(case.row), measure.limit(case.row)
    assert value is not None
    text = figure(value, measure.unit)
    if limit is not None:
        text = f"{figure(value, '')} of {limit:g}"
    bar: Data = {
        "line": line,
        "value": value / scale,
        "end": max(value, interval[1] if interval else value, limit or value) / scale,
        "text": text,
        "colour": case.colour,
        "opacity": measure.opacity,
        "says": _told(case, measure, text, interval),
    }
    if interval:
        bar |= {"low": interval[0] / scale, "high": interval[1] / scale}
    if limit is not None:
        bar["limit"] = limit / scale
    return bar


def _told(case: ShownCase, measure: Measure, text: str, interval: Interval | None) -> str:
    """Return what a tooltip tells of a bar."""
    parts = [f"{case.label}, {case.asked}: {measure.name} {text}"]
    if interval:
        low, high = (figure(bound, measure.unit) for bound in interval)
        parts.append(f"95% interval over {len(case.row.valid)} repeats: {low} to {high}")
    if case.doubt:
        parts.append(
            f"not valid, {case.doubt}: {shorten(case.row.reason, _REASON_LETTERS, placeholder=' ...')}"
        )
    return ". ".join(parts)


def _layers(lines: _Lines, scale: Spec, axis: Spec) -> list[Spec]:
    x = {"type": "quantitative", "scale": scale, "axis": axis}
    every = [*lines.bars, *lines.doubtful]
    colour = {"field": "colour", "type": "nominal", "scale": None}
    bar = {"x": {**x, "field": "value"}, "description": {"field": "says"}, "tooltip": {"field": "says"}}
    hollow = {"type": "bar", "filled": False, "strokeWidth": 1.5, "strokeDash": [4, 3], "fill": "transparent"}
    opacity = {"field": "opacity", "type": "quantitative", "scale": None}
    return [
        _layer(lines.bars, {"type": "bar"}, {**bar, "fill": colour, "fillOpacity": opacity}),
        _layer(lines.doubtful, hollow, {**bar, "stroke": colour}),
        *_error_bars([each for each in every if "low" in each], x),
        _layer(
            [each for each in every if "limit" in each],
            {"type": "tick", "color": INK, "thickness": 2, "aria": False},
            {"x": {**x, "field": "limit"}},
        ),
        _layer(
            every,
            {"type": "text", "align": "left", "dx": 5, "aria": False},
            {"x": {**x, "field": "end"}, "text": {"field": "text"}},
        ),
        *_texts(lines),
    ]


def _error_bars(data: list[Data], x: Spec) -> Iterator[Spec]:
    rule = {"type": "rule", "color": INK, "strokeWidth": 1.5, "aria": False}
    yield _layer(data, rule, {"x": {**x, "field": "low"}, "x2": {"field": "high"}})
    for end in ("low", "high"):
        yield _layer(
            data, {"type": "tick", "color": INK, "size": 7, "aria": False}, {"x": {**x, "field": end}}
        )


def _texts(lines: _Lines) -> Iterator[Spec]:
    mark = {"type": "text", "align": "left", "limit": {"expr": "width"}}
    at_left, text = {"x": {"value": 0}}, {"text": {"field": "text"}}
    yield _layer(lines.heads, {**mark, "fontWeight": "bold"}, {**at_left, **text})
    colour = {"field": "colour", "type": "nominal", "scale": None}
    yield _layer(lines.names, {**mark, "dy": 2}, {**at_left, **text, "color": colour})
    yield _layer(lines.missing, {**mark, "color": FAINT, "fontStyle": "italic"}, {**at_left, **text})


def _layer(data: list[Data], mark: Spec, encoding: Spec) -> Spec:
    return {"data": {"values": data}, "mark": mark, "encoding": encoding}
