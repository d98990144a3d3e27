"""Lines over the response times of cases, with a choice among what was asked (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from pytest_servebench.reports.plots.look import BAD, Data, Spec, chooser, chosen, framed, stacks_scale
from pytest_servebench.reports.plots.shown import ShownCase
from pytest_servebench.reports.row import VALID
from pytest_servebench.statistics.histogram import Histogram

Shares = npt.NDArray[np.float64]

NO_TIMES = "no record has a histogram of response times: of wrong answers and failed loads there is none"


def histogram_of(case: ShownCase) -> Histogram | None:
    """Return the response times of a case, those of its valid repeats together; None: it has none.

    Of a case without a valid repeat those of all are taken, and drawn as what must not be believed.
    """
    believed = [record for record in case.records if record["validity"] == VALID] or list(case.records)
    found = [_decoded(record.get("histogram")) for record in believed]
    merged = Histogram.merged(each for each in found if each is not None)
    return merged if merged.count else None


def _decoded(held: object) -> Histogram | None:
    text = held.get("response_time_ns") if isinstance(held, dict) else None
    try:
        return Histogram.decoded(text) if text else None
    except ValueError:  # of another layout: not made by us
        return None


def curves_spec(
    times: Sequence[tuple[ShownCase, Histogram]],
    shares: Callable[[int], Shares],
    *,
    axes: Callable[[list[Data]], tuple[Spec, Spec]],
    says: str,
    notes: Spec,
) -> Spec:
    """Return a line for each case through the times at some shares of its replies.

    ``shares`` tells them from the number of replies, each below 1; ``axes`` the x and y of points, each
    of which has ``share`` and ``ms``. The time is that which 1 - ``share`` of the replies exceeded.
    """
    cases = [case for case, _ in times]
    asked = list({case.group: case.asked for case in cases}.values())
    points = [
        point
        for number, (case, each) in enumerate(times)
        for point in _noted(_points(number, each, shares(each.count)), case.doubt, number)
    ]
    x, y = axes(points)
    return framed(
        says,
        height=300,
        params=chooser("chosen", "asked: ", asked),
        data={"values": points},
        transform=[_known(cases), *chosen("chosen", "asked", asked)],
        encoding={"x": x, "y": y},
        layer=_layers(cases, notes),
    )


def _known(cases: Sequence[ShownCase]) -> Spec:
    """Return what brings to each point what is known of its case: said once, not at each of its points."""
    places = {group: place for place, group in enumerate(dict.fromkeys(case.group for case in cases))}
    fields = ("label", "doubt", "name")
    known = [
        {"case": number, "asked": places[case.group], **{field: getattr(case, field) for field in fields}}
        for number, case in enumerate(cases)
    ]
    data = {"data": {"values": known}, "key": "case", "fields": ["asked", *fields]}
    return {"lookup": "case", "from": data}


def _points(case: int, times: Histogram, shares: Shares) -> list[Data]:
    at_ms = times.percentiles(100 * shares) / 1e6
    return [
        {"case": case, "share": round(float(share), 10), "ms": float(f"{ms:.4g}")}
        for share, ms in zip(shares, at_ms, strict=True)
    ]


def _noted(points: list[Data], doubt: str, number: int) -> list[Data]:
    """Return a line's points with its doubt at one of them, at another height than at its neighbours'.

    Every line has a note, if an empty one: of marks without a single datum the extent is unknown.
    """
    at = round((0.88 - 0.13 * (number % 5)) * (len(points) - 1)) if doubt else 0
    points[at]["note"] = doubt
    return points


def _layers(cases: Sequence[ShownCase], notes: Spec) -> list[Spec]:
    colour, dash = stacks_scale(cases)
    tooltip = [
        {"field": "name", "title": "case"},
        {"field": "share", "title": "share of replies", "format": ".5~p"},
        {"field": "ms", "title": "took at most, ms"},
    ]
    detail = {"field": "case"}
    doubtful = {"condition": {"test": "datum.doubt !== ''", "value": 0.45}, "value": 1}
    shared = {"color": colour, "detail": detail}
    line = {"type": "line", "strokeWidth": 2, "clip": True}
    return [
        {"mark": line, "encoding": {**shared, "strokeDash": dash, "opacity": doubtful}},
        {
            "mark": {"type": "point", "size": 60, "opacity": 0, "filled": True, "aria": False},
            "encoding": {"detail": detail, "tooltip": tooltip},
        },
        {
            "transform": [{"filter": "isValid(datum.note)"}],
            "mark": {"type": "text", "color": BAD, "aria": False, **notes},
            "encoding": {"text": {"field": "note"}},
        },
    ]
