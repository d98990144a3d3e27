"""The distribution of response times: which share of the replies took at most so long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_servebench.reports.plots.curves import NO_TIMES, Shares, curves_spec, histogram_of
from pytest_servebench.reports.plots.look import Data, Spec, figure
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.shown import ShownCase
from pytest_servebench.statistics.histogram import Histogram

_STEPS = 100
_MOST_TOLD = 8
_NOTES: Spec = {"align": "left", "dx": 7, "dy": 7}
"""Right below a line that rises from left to right nothing is drawn."""


def distribution(cases: Sequence[ShownCase]) -> Plot:
    """Return the cumulative distribution of each case; absent where no record has a histogram."""
    name, title = "distribution", "Distribution of response times, share of replies over ms"
    reading = (
        "A line further left is faster, a steeper one steadier: at its height, that share of the correct "
        "replies had come after so many milliseconds. Repeats are pooled. Paler lines with a word at their "
        "end may not be believed."
    )
    times = [(case, found) for case in cases if (found := histogram_of(case)) is not None]
    if not times:
        return Plot(name=name, title=title, reading=reading, absent=NO_TIMES)
    says = f"Share of correct replies over response time by case. {told(times)}"
    spec = curves_spec(times, shares_of, axes=_axes, says=says, notes=_NOTES)
    return Plot(name=name, title=title, reading=reading, spec=spec, description=says)


def shares_of(replies: int) -> Shares:
    """Return the shares a line is drawn at: hundredths, ended where no reply is left to exceed."""
    highest = 1 - 1 / replies
    steps = np.linspace(0, 1, _STEPS, endpoint=False)
    return np.append(steps[steps < highest], highest)


def told(times: Sequence[tuple[ShownCase, Histogram]]) -> str:
    """Return least, middle and greatest of each case, in words."""
    sentences = []
    for case, found in times[:_MOST_TOLD]:
        ends = [(found.percentile(rank) or 0.0) / 1e6 for rank in (0, 50, 100)]
        least, middle, most = (figure(ms, "ms") for ms in ends)
        count = f"{found.count:,} replies" if found.count > 1 else "1 reply"
        sentences.append(f"{case.whole_name}: {least} to {most}, median {middle}, {count}.")
    more = len(times) - _MOST_TOLD
    return " ".join([*sentences, *([f"And {more} more cases."] if more > 0 else [])])


def _axes(points: list[Data]) -> tuple[Spec, Spec]:
    scale = {"type": "log", "nice": False}
    few = [1, 2, 5]
    low, high = min(point["ms"] for point in points), max(point["ms"] for point in points)
    values = [times * 10.0**power for power in range(-6, 9) for times in few]
    inside = [each for each in values if low * 0.9 <= each <= high * 1.1]
    x = {
        "field": "ms",
        "type": "quantitative",
        "scale": scale,
        "axis": {
            "title": "response time, ms (log scale)",
            "format": "~r",
            "labelOverlap": True,
            **({"values": inside} if len(inside) > 1 else {}),
        },
    }
    y = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"title": "share of correct replies", "format": "%", "tickCount": 5},
    }
    return x, y
