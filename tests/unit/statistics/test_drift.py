"""A window that drifts is told, and one that only swings is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import theilslopes

from pytest_servebench.samples import Slice
from pytest_servebench.statistics.drift import DriftLimits, drift_of, slope_of
from tests.simulated import Random, autocorrelated, in_batches, line, one_by_one, poisson_queue

RUNS = 500
LENGTH_S = 4.0
Made = Callable[[Random], tuple[Slice, ...]]


def said(make: Made, at_once: int, runs: int = RUNS) -> list[str]:
    """Return what was said of each run of which anything was."""
    found = (drift_of(make(np.random.default_rng(seed)), DriftLimits(), at_once) for seed in range(runs))
    return [text for text in found if text]


def one_at_a_time(per_s: float, correlation: float) -> Made:
    """Return a steady server with one request in flight and AR(1) service."""

    def made(random: Random) -> tuple[Slice, ...]:
        services = autocorrelated(random, round(30 * per_s), correlation) / per_s
        return line(*one_by_one(services), LENGTH_S, random.uniform(2, 3))

    return made


def batching(per_s: float, batch: int) -> Made:
    """Return a steady server that answers ``batch`` requests in one instant, at a jittering pace."""

    def made(random: Random) -> tuple[Slice, ...]:
        rounds = random.uniform(0.7, 1.3, max(20, round(30 * per_s / batch))) * batch / per_s
        return line(*in_batches(rounds, batch), LENGTH_S, random.uniform(2, 3))

    return made


def queue(random: Random) -> tuple[Slice, ...]:
    """Return an open loop at a server that is busy for 80% of the time."""
    return line(*poisson_queue(random, 200, random.exponential(0.8 / 200, 3000)), LENGTH_S, 3.0)


@pytest.mark.parametrize(
    ("make", "at_once", "most"),
    [
        (one_at_a_time(25, 0.0), 1, 0.005),
        (one_at_a_time(50, 0.5), 1, 0.01),
        (one_at_a_time(500, 0.9), 1, 0.005),
        (batching(23, 8), 16, 0.01),
        (batching(45, 8), 16, 0.015),
        (batching(45, 16), 32, 0.01),
        (batching(400, 8), 16, 0.005),
        (queue, 4, 0.01),
        (one_at_a_time(50, 0.9), 1, 0.04),
    ],
    ids=[
        "25/s", "50/s ar 0.5", "500/s ar 0.9", "23/s by 8", "45/s by 8", "45/s by 16", "400/s by 8", "queue",
        "50/s ar 0.9: a memory of a fifth of a second, in a window of four",
    ],
)  # fmt: skip
def test_false_alarms_are_rare(make: Made, at_once: int, most: float) -> None:
    """Of 500 steady runs at most so many are called drifting: one in a hundred, mostly none."""
    assert len(said(make, at_once)) <= most * RUNS


def slowing(per_s: float, factor: float) -> Made:
    """Return a server whose service takes ``factor`` times as long at the window's end as at its begin."""

    def made(random: Random) -> tuple[Slice, ...]:
        now, services = 0.0, []
        for one in autocorrelated(random, round(8 * per_s), 0.3, 0.2):
            services.append(one * np.interp(now, [1, 1 + LENGTH_S], [1, factor]) / per_s)
            now += services[-1]
        return line(*one_by_one(np.array(services)), LENGTH_S, 1.0)

    return made


def test_a_drift_is_told_with_its_figures() -> None:
    """A server that becomes half as fast within the window is told, from where to where."""
    told = said(slowing(200, 2.0), 1, runs=40)
    assert len(told) >= 36
    assert told[0].startswith("the throughput fell steadily from about 1")
    assert told[0].endswith("requests/s within the window: it is not one steady state")


def test_an_open_loop_drifts_in_its_response_times() -> None:
    """Arrivals keep their pace whatever the server does; what users wait does not."""
    ends = np.arange(1, 800) / 200
    times = np.random.default_rng(0).uniform(0.9, 1.1, len(ends)) * np.interp(ends, [0, 4], [0.01, 0.02])
    text = drift_of(line(ends, times, LENGTH_S), DriftLimits(), 3)
    assert text.startswith("the p50 response time rose steadily from about 10.")


def test_small_changes_and_few_replies_are_left_alone() -> None:
    """A tenth within a window is nobody's business, and 80 replies cannot tell."""
    ends = np.arange(1, 4000) / 1000
    assert drift_of(line(ends, np.interp(ends, [0, 4], [0.010, 0.011]), LENGTH_S), DriftLimits(), 10) == ""
    few = ends[::50][:80]
    assert drift_of(line(few, np.interp(few, [0, 4], [0.01, 0.05]), LENGTH_S), DriftLimits(), 1) == ""
    assert drift_of((), DriftLimits(), 1) == ""


@given(some.lists(some.floats(0, 1e6), min_size=2, max_size=14))
def test_the_slope_is_theil_and_sens(values: list[float]) -> None:
    """It is scipy's, which takes a second to import."""
    assert slope_of(np.array(values)) == pytest.approx(theilslopes(values).slope, rel=1e-9, abs=1e-9)


def test_a_steady_window_needs_no_library() -> None:
    """Every session asks for the drift of its windows; only a steep one costs the import of scipy.stats."""
    script = (
        "import sys; import numpy as np; from pytest_servebench.statistics.drift import DriftLimits, _trend; "
        "said = _trend('p95', 'ms', np.array([5.0, 6.0] * 5), DriftLimits(), 0.0); "
        "print([said], 'scipy.stats' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[''] False"
