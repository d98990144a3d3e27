"""The response times that are kept of a run, so that percentiles can be had of them again (pure)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.results import CaseResult
from pytest_servebench.samples import Outcome
from pytest_servebench.statistics.distributions import evenly_ranked_s, response_times

SAMPLE_CAP = 20_000
"""Response times kept per case: a JSON file of about 1 MB, and ranks exact to 0.0025 %."""

SELECTION = "every response time"
SELECTION_CAPPED = "values at evenly spaced ranks, minimum and maximum included, in order of sending"
SELECTION_FOLDED = "values at evenly spaced ranks of the histogram, minimum and maximum included, ascending"


def response_times_s(result: CaseResult) -> npt.NDArray[np.float64]:
    """Return received - intended of the correct requests that ended in the window, in order of sending.

    The window is open at its begin and closed at its end, as `statistics` counts it.
    Empty when the result is not publishable: a fast wrong answer is no result. Of a load so long
    that rows were folded, `SAMPLE_CAP` values at evenly spaced ranks, ascending.
    """
    samples = result.samples
    if samples is None or not result.publishable:
        return np.empty(0, dtype=np.float64)
    if samples.folded is not None:
        times = response_times(samples)
        return evenly_ranked_s(times, min(times.count, SAMPLE_CAP))
    begin_ns, end_ns = samples.window_ns
    ended_inside = (samples.received_ns > begin_ns) & (samples.received_ns <= end_ns)
    counted = ended_inside & (samples.outcome == Outcome.OK)
    times_s: npt.NDArray[np.float64] = (samples.received_ns - samples.intended_ns)[counted] / 1e9
    return times_s


def thin(times_s: npt.NDArray[np.float64], cap: int = SAMPLE_CAP) -> npt.NDArray[np.float64]:
    """Return at most ``cap`` values whose percentiles are those of ``times_s``.

    Keeps the order statistics at ``cap`` evenly spaced ranks, both ends included, so a
    percentile moves by at most half a rank step, 50 / (cap - 1) percent points, where a
    random draw of the same size would move p99.9 by many; no seed is needed. The
    values stay in the order they came in.
    """
    if len(times_s) <= cap:
        return times_s
    ranks = np.round(np.linspace(0, len(times_s) - 1, cap)).astype(np.int64)
    positions = np.argsort(times_s, kind="stable")[ranks]
    return np.take(times_s, np.sort(positions))


def thinned(times_s: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the response times to keep, in seconds, with mean and spread of all of them."""
    return {
        "data": thin(times_s).tolist(),
        "mean_s": float(times_s.mean()) if len(times_s) else None,
        "stddev_s": float(times_s.std(ddof=1)) if len(times_s) > 1 else 0.0,
    }


def samples_facts(result: CaseResult) -> dict[str, Any]:
    """Return how many response times there were, how many are kept, and how these were chosen."""
    if result.samples is not None and result.samples.folded is not None and result.publishable:
        count = response_times(result.samples).count
        return {"count": count, "kept": min(count, SAMPLE_CAP), "selection": SELECTION_FOLDED}
    count = len(response_times_s(result))
    selection = SELECTION if count <= SAMPLE_CAP else SELECTION_CAPPED
    return {"count": count, "kept": min(count, SAMPLE_CAP), "selection": selection}
