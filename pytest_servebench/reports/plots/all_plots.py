"""Every plot of the page, in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.plots.distribution import distribution
from pytest_servebench.reports.plots.load_curve import load_curve
from pytest_servebench.reports.plots.percentile_spectrum import percentile_spectrum
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.resources import resources
from pytest_servebench.reports.plots.response_times import response_times
from pytest_servebench.reports.plots.shown import shown_cases
from pytest_servebench.reports.plots.throughput import throughput
from pytest_servebench.reports.plots.time_line import time_lines
from pytest_servebench.reports.plots.time_split import time_split


def plots_of(runs: Sequence[SavedRun]) -> tuple[Plot, ...]:
    """Return the plots of runs, side by side; one that these runs have no figures for says why."""
    cases = shown_cases(runs)
    return (
        response_times(cases),
        throughput(cases),
        load_curve(cases),
        distribution(cases),
        percentile_spectrum(cases),
        time_split(cases),
        *time_lines(cases),
        *resources(cases),
    )
