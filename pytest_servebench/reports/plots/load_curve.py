"""How long replies take the more is asked of a server, where it was asked several loads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pytest_servebench.errors import PlanError
from pytest_servebench.objective import parse_objective
from pytest_servebench.reports.plots.look import (
    FONT_PX,
    PAPER,
    Data,
    Spec,
    chooser,
    chosen,
    figure,
    framed,
    labels_scale,
)
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.shown import ShownCase, finite

HOW_TO_MAKE_IT = (
    "no case was measured at several loads; measure some with --serve-concurrency=1, then 2, 4, 8 ..., each "
    "saved with --benchmark-json=FILE, and give the files to servebench report together"
)
_FEWEST = 2
"""Loads of a case that make a curve."""
_RATES = ("constant", "poisson")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One case at one load."""

    asked: str
    """What was asked, the load apart."""
    label: str
    """The line it is on: stack, format, unusual precision, how the load is paced."""
    run: str
    colour: str
    load: str
    """Shown at the point."""
    order: float
    """The load as a number."""
    percentile: str
    images_per_s: float
    ms: float
    doubt: str


def load_curve(cases: Sequence[ShownCase]) -> Plot:
    """Return p50 and p95 over images/s; absent where nothing was measured at several loads."""
    name, title = "load-curve", "Response time over throughput, ms over images/s"
    reading = (
        "Along a line the load grows; the number at a point is the load: requests in flight of a closed "
        "loop, requests/s of an open one. Where a line bends upwards more load only waits longer: the best "
        "load is just before. Hollow points may not be believed. Of a search for capacity the trials are "
        "drawn at the rate they offered, a failed one hollow."
    )
    points = curve_points(cases)
    if not points:
        return Plot(name=name, title=title, reading=reading, absent=HOW_TO_MAKE_IT)
    says = f"Response time over throughput, a line for each case and percentile. {_told(points)}"
    return Plot(name=name, title=title, reading=reading, spec=_spec(points, says), description=says)


def curve_points(cases: Sequence[ShownCase]) -> tuple[Point, ...]:
    """Return the points of every case that has several loads, in the order of the load.

    Points of several runs are on one line, unless a load was measured in more than one of them.
    """
    found = [point for case in cases for point in _points(case)]
    lines: dict[tuple[str, str], list[Point]] = {}
    for point in found:
        lines.setdefault((point.asked, point.label), []).append(point)
    split = [line for points in lines.values() for line in _by_run(points)]
    kept = [_once(line) for line in split]
    kept = [line for line in kept if len({point.order for point in line}) >= _FEWEST]
    return tuple(point for line in kept for point in line)


def _points(case: ShownCase) -> Iterator[Point]:
    row, load = case.row, case.records[0]["load"]
    if case.row.capacity:
        yield from _trials(case)
        return
    paced, _, rate = str(load.get("arrivals", "closed")).partition(":")
    order = finite(load.get("concurrency")) if paced == "closed" else _number(rate)
    if order is None or (paced != "closed" and paced not in _RATES):
        return
    images = finite(row.images_per_s)
    how = "" if paced == "closed" else f", {paced} arrivals"
    for percentile, ms in (("p50", row.response_time_p50_ms), ("p95", row.response_time_p95_ms)):
        if images is not None and (value := finite(ms)) is not None:
            yield _point(case, how, order, percentile, images, value, case.doubt)


def _trials(case: ShownCase) -> Iterator[Point]:
    """Yield the trials of a search, of each rate the latest."""
    assert case.row.capacity is not None
    percentile = _percentile(str(case.row.capacity.get("objective") or ""))
    trials = case.row.capacity.get("trials") or ()
    latest = {rate: trial for trial in trials if (rate := trial.get("rate_per_s")) is not None}
    for rate, trial in sorted(latest.items()):
        ms, per_s = finite(trial.get("percentile_ms")), finite(rate)
        if percentile and ms is not None and per_s is not None:
            verdict = str(trial.get("verdict"))
            doubt = case.doubt or ("" if verdict == "pass" else verdict)
            images = per_s * case.row.items_per_request
            yield _point(case, ", capacity trials", per_s, percentile, images, ms, doubt)


def _percentile(objective: str) -> str:
    """Return which percentile the trials have: that of the objective's first limit on times."""
    try:
        times = parse_objective(objective).times
    except PlanError:
        return ""
    return f"p{times[0].percentile}" if times else ""


def _point(  # noqa: PLR0917 (what a point has)
    case: ShownCase, how: str, order: float, percentile: str, images: float, ms: float, doubt: str
) -> Point:
    row = case.row
    asked = (row.model, row.payload, f"over {row.protocol}", f"on {row.device}")
    batch = f"max batch {row.max_batch_size}, {row.items_per_request} per request"
    return Point(
        asked=", ".join([*asked, batch]),
        label=f"{row.stack} {row.form}{how}",
        run=case.run,
        colour=case.colour,
        load=f"{order:g}/s" if how else f"{order:g}",
        order=order,
        percentile=percentile,
        images_per_s=images,
        ms=ms,
        doubt=doubt,
    )


def _by_run(points: Sequence[Point]) -> list[list[Point]]:
    """Return the points as one line, or as one for each run where runs measured the same load."""
    runs: dict[float, set[str]] = {}
    for point in points:
        runs.setdefault(point.order, set()).add(point.run)
    if all(len(each) == 1 for each in runs.values()):
        return [list(points)]
    ordered = sorted(points, key=lambda point: point.run)
    return [
        [replace(point, label=f"{point.label}, {run}") for point in each]
        for run, each in groupby(ordered, key=lambda point: point.run)
    ]


def _once(points: Sequence[Point]) -> list[Point]:
    """Return one point for each load and percentile, the first, in the order of the load."""
    first: dict[tuple[str, float], Point] = {}
    for point in points:
        first.setdefault((point.percentile, point.order), point)
    return sorted(first.values(), key=lambda point: (point.percentile, point.order))


def _number(text: str) -> float | None:
    try:
        return finite(float(text))
    except ValueError:
        return None


def _where(point: Point) -> str:
    return f"{figure(point.ms, 'ms')} at {figure(point.images_per_s, 'images/s')} (load {point.load})"


def _told(points: Sequence[Point], most: int = 8) -> str:
    lines: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        lines.setdefault((f"{point.label} ({point.asked})", point.percentile), []).append(point)
    sentences = []
    for (label, percentile), line in list(lines.items())[:most]:
        first, last = line[0], line[-1]
        sentences.append(f"{label}: {percentile} from {_where(first)} to {_where(last)}.")
    more = len(lines) - most
    return " ".join([*sentences, *([f"And {more} more lines."] if more > 0 else [])])


def _spec(points: Sequence[Point], says: str) -> Spec:
    asked = list(dict.fromkeys(point.asked for point in points))
    places = {words: place for place, words in enumerate(asked)}
    colours = {point.label: point.colour for point in points}
    colour, dash = labels_scale(dict(sorted(colours.items())))
    values = [_datum(point, places[point.asked]) for point in points]
    return framed(
        says,
        height=320,
        params=chooser("curves", "asked: ", asked),
        data={"values": values},
        transform=chosen("curves", "asked", asked),
        encoding={
            "x": {
                "field": "images",
                "type": "quantitative",
                "scale": {"zero": True, "nice": True},
                "axis": {"title": "images/s", "tickCount": 5},
            },
            "y": {
                "field": "ms",
                "type": "quantitative",
                "scale": {"type": "log", "nice": True},
                "axis": {"title": "response time, ms (log scale)", "format": "~r", "tickCount": 5},
            },
            "detail": [{"field": "percentile"}, {"field": "label"}],
            "color": colour,
        },
        layer=_layers(dash, sorted({point.percentile for point in points})),
    )


def _datum(point: Point, asked: int) -> Data:
    doubt = f", not valid: {point.doubt}" if point.doubt else ""
    return {
        "asked": asked,
        "label": point.label,
        "percentile": point.percentile,
        "order": point.order,
        "load": point.load,
        "images": point.images_per_s,
        "ms": point.ms,
        "doubt": point.doubt,
        "says": f"{point.label} at load {point.load}: {figure(point.images_per_s, 'images/s')}, "
        f"{point.percentile} {figure(point.ms, 'ms')}{doubt}",
    }


def _layers(dash: Spec, percentiles: Sequence[str]) -> list[Spec]:
    shapes = ["circle", "triangle-up", "square", "diamond"][: len(percentiles)]
    shape = {
        "field": "percentile",
        "type": "nominal",
        "scale": {"domain": list(percentiles), "range": shapes},
        "legend": {"title": None, "orient": "top", "symbolFillColor": "var(--faint)", "symbolSize": 70},
    }
    width = {"condition": {"test": "datum.percentile === 'p50'", "value": 1.2}, "value": 2.2}
    hole = {"condition": {"test": "datum.doubt !== ''", "value": 22}, "value": 0}
    says = {"description": {"field": "says"}, "tooltip": {"field": "says"}}
    order = {"order": {"field": "order", "type": "quantitative"}}
    return [
        {"mark": "line", "encoding": {"strokeDash": dash, "strokeWidth": width, **order}},
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "strokeWidth": 1.5},
            "encoding": {"shape": shape, **says},
        },
        {
            "mark": {"type": "point", "filled": True, "opacity": 1, "aria": False},
            "encoding": {"color": {"value": PAPER}, "size": hole},
        },
        {
            "mark": {"type": "text", "dy": -11, "fontSize": FONT_PX, "aria": False},
            "encoding": {"text": {"field": "load"}, "color": {"value": "var(--ink)"}},
        },
    ]
