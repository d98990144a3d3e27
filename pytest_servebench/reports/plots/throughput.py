"""Throughput: images that were answered rightly in a second, as bars."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.reports.plots.bars import Measure, bars_spec
from pytest_servebench.reports.plots.look import listed_absences
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.saying import described
from pytest_servebench.reports.plots.shown import ShownCase

IMAGES = Measure(name="throughput", unit="images/s", value=lambda row: row.images_per_s)


def throughput(cases: Sequence[ShownCase]) -> Plot:
    """Return the bars of images/s; absent where no case may be published."""
    name, title = "throughput", "Throughput, images/s"
    reading = (
        "Longer is better where the load was a closed loop; an open loop gets what it offers as long as the "
        "server keeps up. Only correct answers count. Lines across a bar's end are 95% intervals over "
        "repeats; cases that may not be believed are hollow."
    )
    if all(IMAGES.of(case.row) is None for case in cases):
        reasons = listed_absences([case.row.reason for case in cases])
        return Plot(name=name, title=title, reading=reading, absent=f"no case has a throughput: {reasons}")
    says = f"Bars of throughput by case. {described(cases, IMAGES, max)}"
    spec = bars_spec(cases, (IMAGES,), axis="images/s", says=says)
    return Plot(name=name, title=title, reading=reading, spec=spec, description=says)
