"""The specification of a time line: rates above, p95 below, on one axis of time (pure).

Both are in one view, each scale with its part of the height: views above each other would not take the
page's width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_servebench.reports.plots.look import BAD, FAINT, GOOD, INK, Data, Spec, chosen, framed

_NAMES_END_PX, _RATES_END_PX, _BETWEEN_PX, _TIMES_BEGIN_PX, _HEIGHT_PX = 50, 205, 222, 240, 340
_SLICES = "slices"
"""They are drawn three times, and held once."""
_SENT_PX = 3.5
"""So wide that what was answered lies on it and both are seen."""
_SERIES: Mapping[str, tuple[str, list[int]]] = {
    "offered": (INK, [5, 3]),
    "sent": (FAINT, [1, 0]),
    "correct": (GOOD, [1, 0]),
    "failed": (BAD, [1, 0]),
    "dropped": (BAD, [2, 2]),
}
"""Colour and dash of what is counted; the colours are no stack's."""
_TIME: Spec = {
    "field": "s",
    "type": "quantitative",
    "scale": {"nice": False},
    "axis": {"title": "s since the window's begin", "tickCount": 8, "grid": False},
}


def time_line_spec(
    *,
    slices: Sequence[Data],
    stages: Sequence[Data],
    warm_ups: Sequence[Data],
    params: list[Spec],
    says: str,
) -> Spec:
    """Return the plot of slices (``s``, ``end``, rates, ``p95``); ``at`` in each is its case's place."""
    options = list(params[0]["bind"]["labels"]) if params else []
    top_px = _NAMES_END_PX if stages else 0
    kept = chosen("line", "at", options)
    choose = {"transform": kept} if kept else {}
    rates = [name for name in _SERIES if any(name in each for each in slices)]
    parts = [
        *({"data": {"values": list(warm_ups)}, **choose, **each} for each in _WARM_UP if warm_ups),
        *({"data": {"values": list(stages)}, **choose, **_BORDER} for _ in stages[:1]),
        *_stage_names(stages, kept),
        {
            "data": {"name": _SLICES},
            "transform": [*kept, {"fold": sorted(rates, key=_drawn_last), "as": ["kind", "per_s"]}],
            **_rates(rates, top_px),
        },
        {"data": {"name": _SLICES}, **choose, **_P95},
        {"data": {"name": _SLICES}, **choose, **_tips(rates)},
    ]
    resolve = {"scale": {"y": "independent"}}
    held = {_SLICES: list(slices)}
    return framed(says, height=_HEIGHT_PX, params=params, datasets=held, resolve=resolve, layer=parts)


_WARM_UP: tuple[Spec, ...] = (
    {
        "mark": {"type": "rect", "color": FAINT, "opacity": 0.18, "aria": False},
        "encoding": {
            "x": {**_TIME, "field": "begin"},
            "x2": {"field": "end"},
            "y": {"value": 0},
            "y2": {"value": _HEIGHT_PX},
        },
    },
    {
        "mark": {"type": "text", "text": "warm-up", "align": "left", "dx": 2, "color": FAINT, "aria": False},
        "encoding": {"x": {**_TIME, "field": "begin"}, "y": {"value": _BETWEEN_PX}},
    },
)


_BORDER: Spec = {
    "mark": {"type": "rule", "color": FAINT, "strokeDash": [3, 3], "aria": False},
    "encoding": {"x": {**_TIME, "field": "begin"}, "y": {"value": 0}, "y2": {"value": _HEIGHT_PX}},
}
_P95: Spec = {
    "mark": {"type": "rule", "strokeWidth": 2, "color": INK, "aria": False},
    "encoding": {
        "x": _TIME,
        "x2": {"field": "end"},
        "y": {
            "field": "p95",
            "type": "quantitative",
            "scale": {"range": [_HEIGHT_PX, _TIMES_BEGIN_PX], "zero": True},
            "axis": {"title": "p95, ms", "tickCount": 3, "orient": "left"},
        },
    },
}


def _stage_names(stages: Sequence[Data], kept: list[Spec]) -> Iterator[Spec]:
    """Yield the names of stages, at their begin or, near the right edge, at their end."""
    for side, align, dx in (("begin", "left", 3), ("end", "right", -3)):
        here = [stage for stage in stages if stage["side"] == side]
        if here:
            yield {
                "data": {"values": here},
                "transform": kept,
                "mark": {"type": "text", "align": align, "dx": dx, "fontSize": 11},
                "encoding": {
                    "x": {**_TIME, "field": side},
                    "y": {"field": "row", "type": "quantitative", "scale": None, "axis": None},
                    "text": {"field": "text"},
                    "tooltip": {"field": "says"},
                    "description": {"field": "says"},
                },
            }


def _drawn_last(name: str) -> bool:
    """Return whether a line lies upon the others: the dashed one, which would not be seen below them."""
    return name == "offered"


def _rates(names: Sequence[str], top_px: int) -> Spec:
    """Return the steps of all counts below ``top_px``, told from each other by colour and dash.

    No field may be called count: Vega gives each line one of that name.
    """
    legend = {"title": None, "orient": "top", "columns": 5, "symbolType": "stroke", "symbolSize": 250}
    by_name = {"field": "kind", "type": "nominal", "legend": legend}
    colours, dashes = ([_SERIES[name][part] for name in names] for part in range(2))
    domain = list(names)
    return {
        "mark": {"type": "line", "interpolate": "step-after"},
        "encoding": {
            "x": _TIME,
            "y": {
                "field": "per_s",
                "type": "quantitative",
                "scale": {"range": [_RATES_END_PX, top_px], "zero": True},
                "axis": {"title": "requests/s", "tickCount": 4},
            },
            "color": {**by_name, "scale": {"domain": domain, "range": colours}},
            "strokeDash": {**by_name, "scale": {"domain": domain, "range": dashes}},
            "strokeWidth": {"condition": {"test": "datum.kind === 'sent'", "value": _SENT_PX}, "value": 1.5},
        },
    }


def _tips(rates: Sequence[str]) -> Spec:
    """Return what shows a slice's figures when it is pointed at."""
    figures = [{"field": name, "type": "quantitative", "title": f"{name}, per s"} for name in rates]
    p95 = {"field": "p95", "type": "quantitative", "title": "p95, ms", "format": ".4~r"}
    return {
        "mark": {"type": "rect", "opacity": 0, "aria": False},
        "encoding": {
            "x": _TIME,
            "x2": {"field": "end"},
            "y": {"value": 0},
            "y2": {"value": _HEIGHT_PX},
            "tooltip": [{"field": "s", "type": "quantitative", "title": "from, s"}, *figures, p95],
        },
    }
