"""The record's histograms, time line and intervals: what is kept of how a run's figures vary (pure).

Saved runs can be merged, or drawn again, from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Constant, Poisson
from pytest_servebench.plan import Load
from pytest_servebench.samples import Folded, Outcome, Samples, Slice
from pytest_servebench.statistics.histogram import HIGHEST_NS, LOWEST_NS, SIGNIFICANT_DIGITS, Histogram
from pytest_servebench.statistics.intervals import CONFIDENCE
from pytest_servebench.statistics.resampling import METHOD, RESAMPLES, within_run
from pytest_servebench.statistics.slices import coarsened, window_slices

FORMAT = "HdrHistogram V2 compressed, base64"
MOST_POINTS = 120
"""Slices in a record at most; more are joined two by two."""
_DIGITS = 4


def response_times(samples: Samples) -> Histogram:
    """Return received - intended of the correct replies that ended inside the window."""
    correct = _correct(samples)
    folded = (samples.folded or Folded()).inside.response_times
    return folded + Histogram.of(samples.received_ns[correct] - samples.intended_ns[correct])


def service_times(samples: Samples) -> Histogram:
    """Return received - sent of the same replies."""
    correct = _correct(samples)
    folded = (samples.folded or Folded()).inside.service_times
    return folded + Histogram.of(samples.received_ns[correct] - samples.sent_ns[correct])


def histogram_facts(samples: Samples | None, *, publishable: bool) -> dict[str, Any]:
    """Return both histograms, encoded, and how to read them; None where nothing may be published."""
    told = samples if publishable else None
    return {
        "format": FORMAT,
        "unit": "ns",
        "lowest": LOWEST_NS,
        "highest": HIGHEST_NS,
        "significant_digits": SIGNIFICANT_DIGITS,
        "response_time_ns": None if told is None else response_times(told).encoded(),
        "service_time_ns": None if told is None else service_times(told).encoded(),
    }


def timeline_facts(samples: Samples | None, *, publishable: bool) -> dict[str, Any] | None:
    """Return the load's slices as columns of at most 120; ``begin_s`` counts from the window's begin."""
    if samples is None:
        return None
    slices = coarsened(samples.slices or window_slices(samples), MOST_POINTS)
    begin_ns = samples.window_ns[0]
    counts = ("offered", "sent", "correct", "failed", "dropped")
    return {
        "begin_s": [round((one.begin_ns - begin_ns) / 1e9, _DIGITS) for one in slices],
        "length_s": [round((one.end_ns - one.begin_ns) / 1e9, _DIGITS) for one in slices],
        **{name: [getattr(one, name) for one in slices] for name in counts},
        **{
            f"response_time_p{rank}_ms": _percentiles(slices, rank) if publishable else None
            for rank in (50, 95)
        },
    }


def within_run_facts(samples: Samples | None, load: Load, *, publishable: bool) -> dict[str, Any]:
    """Return how surely the run's own figures are known, or why that cannot be told.

    Nothing of it speaks of another run: see `comparison.intervals` for what does.
    """
    absent, found = "", None
    if samples is None or not publishable:
        absent = "nothing may be published of this run"
    elif load.arrivals is not None and not isinstance(load.arrivals, (Constant, Poisson)):
        absent = "the load changes its rate, so its moments are not alike"
    else:
        found = within_run(window_slices(samples))
        absent = "" if found else "too few replies, or too short a window"
    return {
        "method": METHOD,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "block_s": found and found.block_s,
        "throughput_per_s": found and found.throughput_per_s,
        "response_time_ms": found.response_time_ms if found else {"p50": None, "p95": None, "p99": None},
        "absent": absent,
    }


def evenly_ranked_s(times: Histogram, count: int) -> npt.NDArray[np.float64]:
    """Return ``count`` times in seconds at evenly spaced ranks, ascending, both extremes included."""
    if not times.count:
        return np.empty(0, dtype=np.float64)
    seconds: npt.NDArray[np.float64] = times.percentiles(np.linspace(0, 100, count)) / 1e9
    return seconds


def _percentiles(slices: Sequence[Slice], rank: float) -> list[float | None]:
    found = (one.response_times.percentile(rank) for one in slices)
    return [None if one is None else round(one / 1e6, _DIGITS) for one in found]


def _correct(samples: Samples) -> npt.NDArray[np.bool_]:
    begin_ns, end_ns = samples.window_ns
    inside = (samples.received_ns > begin_ns) & (samples.received_ns <= end_ns)
    correct: npt.NDArray[np.bool_] = inside & (samples.outcome == Outcome.OK)
    return correct
