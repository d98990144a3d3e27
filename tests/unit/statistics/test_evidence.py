"""Why repeats exist: what one run says of itself is not what the next run does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm

from pytest_servebench.comparison.intervals import across_runs
from pytest_servebench.statistics.resampling import within_run
from tests.simulated import line, one_by_one

TRIALS = 600
RUNS = 60
PER_S = 1_000
WINDOW_S = 10.0
SPREAD = 0.3
P95_MS = float(1e3 / PER_S * np.exp(SPREAD * norm.ppf(0.95)))
"""Of a run of median level; its throughput is `PER_S` less what the mean is above the median."""
THROUGHPUT = float(PER_S / np.exp(SPREAD**2 / 2))
Numbers = npt.NDArray[np.float64]


def p95s_ms(random: np.random.Generator, repeats: int, run_to_run: float) -> Numbers:
    """Return the p95 of every run of every trial: log-normal requests, at a level that is the run's own."""
    levels = np.exp(random.normal(0.0, run_to_run, (TRIALS, repeats)))
    # An order statistic of so many requests is drawn as one number, by its rank.
    requests = PER_S * WINDOW_S
    ranks = random.beta(0.95 * requests, 0.05 * requests, (TRIALS, repeats))
    found: Numbers = 1e3 / PER_S * levels * np.exp(SPREAD * norm.ppf(ranks))
    return found


def held_over_repeats(random: np.random.Generator, repeats: int, run_to_run: float) -> float:
    """Return how often the interval over repeats holds the typical run's p95."""
    found = [across_runs(each.tolist()) for each in p95s_ms(random, repeats, run_to_run)]
    intervals = [one.interval for one in found if one is not None and one.interval is not None]
    assert len(intervals) == TRIALS
    return float(np.mean([low <= P95_MS <= high for low, high in intervals]))


def held_within_a_run(random: np.random.Generator, run_to_run: float) -> tuple[float, float, float]:
    """Return how often one run's intervals hold the typical run's p95, its throughput, and its own p95."""
    held = []
    for level in np.exp(random.normal(0.0, run_to_run, RUNS)):
        services = level / PER_S * np.exp(random.normal(0.0, SPREAD, round(1.5 * PER_S * (WINDOW_S + 2))))
        found = within_run(line(*one_by_one(services), WINDOW_S, 1.0))
        assert found is not None
        assert found.response_time_ms["p95"] is not None
        low, high = found.response_time_ms["p95"]
        slow, fast = found.throughput_per_s
        own = low * 0.999 <= level * P95_MS <= high * 1.001
        held.append((low <= P95_MS <= high, slow <= THROUGHPUT <= fast, own))
    p95, throughput, own_p95 = np.mean(held, axis=0)
    return float(p95), float(throughput), float(own_p95)


@pytest.mark.parametrize(("run_to_run", "at_most"), [(0.02, 0.75), (0.05, 0.5), (0.10, 0.3)])
def test_repeats_hold_the_truth_as_often_as_they_say_and_one_run_does_not(
    run_to_run: float, at_most: float
) -> None:
    """Where servers differ from start to start, ten thousand requests to one of them are one observation.

    Of 95% intervals over 5 or 10 repeats, 90 to 98% hold the typical run. Those within one run are right
    of that run, and seldom of the typical one.
    """
    random = np.random.default_rng(round(1e3 * run_to_run))
    for repeats in (5, 10):
        assert 0.90 <= held_over_repeats(random, repeats, run_to_run) <= 0.98
    p95, throughput, own_p95 = held_within_a_run(random, run_to_run)
    assert own_p95 >= 0.88
    assert p95 <= at_most
    assert throughput <= at_most
