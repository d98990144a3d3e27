"""The percentile spectrum, as HdrHistogram plots it: how long the slowest of ten, of a hundred ... took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pytest_servebench.reports.plots.curves import NO_TIMES, Shares, curves_spec, histogram_of
from pytest_servebench.reports.plots.distribution import told
from pytest_servebench.reports.plots.look import Data, Spec
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.shown import ShownCase

_PER_DECADE = 24
_NOTES: Spec = {"align": "right", "dx": -5, "dy": -5}
"""Left above a line that bends upwards nothing is drawn."""


def percentile_spectrum(cases: Sequence[ShownCase]) -> Plot:
    """Return response time over percentiles on the scale of 1 / (1 - p); absent without a histogram."""
    name, title = "percentiles", "Slowest replies: response time in ms by percentile"
    reading = (
        "Each step to the right is ten times rarer: at 99.9, one of a thousand correct replies took longer. "
        "A line ends where its replies can tell no more (one of them is left to be slower); a line that "
        "climbs at its end has a long tail."
    )
    times = [(case, found) for case in cases if (found := histogram_of(case)) is not None]
    if not times:
        return Plot(name=name, title=title, reading=reading, absent=NO_TIMES)
    says = f"Response time by percentile, by case, as far as the replies support it. {told(times)}"
    spec = curves_spec(times, shares_of, axes=_axes, says=says, notes=_NOTES)
    return Plot(name=name, title=title, reading=reading, spec=_with_rarity(spec), description=says)


def shares_of(replies: int) -> Shares:
    """Return shares that are evenly spaced on the scale, up to the one that a single reply exceeds."""
    decades = np.log10(replies)
    rarity = np.logspace(0, decades, 1 + max(1, round(_PER_DECADE * decades)))
    shares: Shares = np.unique(1 - 1 / rarity)
    return shares


def _with_rarity(spec: Spec) -> Spec:
    """Return the specification with the place of each point on the scale."""
    transform = [*spec["transform"], {"calculate": "1 / (1 - datum.share)", "as": "rarity"}]
    return {**spec, "transform": transform}


def _axes(points: list[Data]) -> tuple[Spec, Spec]:
    most = max(1 / (1 - point["share"]) for point in points)
    decades = [float(10**power) for power in range(1, 10) if 10**power <= most * 1.01]
    x = {
        "field": "rarity",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [1, max(most, 10.0)], "nice": False},
        "axis": {
            "title": "percentile (each step ten times rarer)",
            "values": [1.0, 2.0, *decades],
            "labelExpr": "format(100 * (1 - 1 / datum.value), '.9~g')",
            "labelOverlap": True,
        },
    }
    y = {
        "field": "ms",
        "type": "quantitative",
        "scale": {"zero": True},
        "axis": {"title": "response time, ms", "format": "~r", "tickCount": 6},
    }
    return x, y
