"""Response times: three percentiles of each case as bars."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.reports.plots.bars import Measure, bars_spec
from pytest_servebench.reports.plots.look import listed_absences
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.saying import described
from pytest_servebench.reports.plots.shown import ShownCase

PERCENTILES = (
    Measure(name="p50", short="p50", unit="ms", value=lambda row: row.response_time_p50_ms),
    Measure(name="p95", short="p95", unit="ms", value=lambda row: row.response_time_p95_ms, opacity=0.75),
    Measure(name="p99", short="p99", unit="ms", value=lambda row: row.response_time_p99_ms, opacity=0.5),
)


def response_times(cases: Sequence[ShownCase]) -> Plot:
    """Return the bars of p50, p95 and p99; absent where no case may be published."""
    name, title = "response-times", "Response time, ms"
    reading = (
        "Shorter is better: half, 95% and 99% of the correct replies took at most so long, from the moment "
        "they were due. Lines across a bar's end are 95% intervals over repeats. Cases that may not be "
        "believed are hollow and named with their reason."
    )
    if not any(measure.of(case.row) is not None for case in cases for measure in PERCENTILES):
        reasons = listed_absences([case.row.reason for case in cases])
        return Plot(name=name, title=title, reading=reading, absent=f"no case has response times: {reasons}")
    says = f"Bars of response times by case. {described(cases, PERCENTILES[1], min)}"
    spec = bars_spec(cases, PERCENTILES, axis="response time, ms", says=says)
    return Plot(name=name, title=title, reading=reading, spec=spec, description=says)
