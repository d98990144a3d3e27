"""Intervals within a run: right for the run that they are of, whatever its replies have in common."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import norm

from pytest_servebench.arrivals import Poisson, Stage, Staged
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.statistics.distributions import within_run_facts
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.resampling import block_length, within_run
from tests.made_up import made_up_samples
from tests.simulated import Random, autocorrelated, line, one_by_one, poisson_queue

RUNS = 120
ROUNDED = 1 + 1e-9
SPREAD = 0.3
MS = 1_000_000
Made = tuple[Slice, ...]


def closed_loop(per_s: float, correlation: float) -> Callable[[Random], Made]:
    """Return a maker of windows of 6 s: one request in flight, AR(1) service around ``1 / per_s``."""

    def made(random: Random) -> Made:
        services = autocorrelated(random, round(12 * per_s * 1.5), correlation, SPREAD) / per_s
        return line(*one_by_one(services), 6.0, random.uniform(2, 3))

    return made


def queue(random: Random) -> Made:
    """Return a window of 10 s of 100 arrivals/s at a server that is half busy."""
    return line(*poisson_queue(random, 100.0, random.exponential(1 / 200, 2100)), 10.0, 3.0)


def coverage(made: Callable[[Random], Made], truth: dict[str, float]) -> dict[str, float]:
    """Return how often the intervals that are told hold the truth, give or take half a bucket."""
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for seed in range(RUNS):
        found = within_run(made(np.random.default_rng(seed)))
        assert found is not None
        told = {"throughput": found.throughput_per_s, **found.response_time_ms}
        for name, value in truth.items():
            if (interval := told[name]) is not None:
                held[name].append(interval[0] * 0.999 <= value <= interval[1] * 1.001)
    assert all(len(each) > RUNS / 2 for each in held.values())
    return {name: float(np.mean(each)) for name, each in held.items()}


@pytest.mark.parametrize(("per_s", "correlation"), [(100.0, 0.0), (100.0, 0.5), (1000.0, 0.5)])
def test_a_closed_loops_figures_are_where_their_intervals_say(per_s: float, correlation: float) -> None:
    """About 95% of the intervals hold the truth, though a reply is like the one before it."""
    ranks = {"p50": 0.5, "p95": 0.95} | ({"p99": 0.99} if per_s > 500 else {})
    truth = {name: float(1e3 / per_s * np.exp(SPREAD * norm.ppf(rank))) for name, rank in ranks.items()}
    truth["throughput"] = per_s / np.exp(SPREAD**2 / 2)
    assert min(coverage(closed_loop(per_s, correlation), truth).values()) >= 0.9


def test_a_queues_figures_are_where_their_intervals_say() -> None:
    """Where those who wait, wait together."""
    truth = {"throughput": 100.0, "p50": 1e3 * np.log(2) / 100, "p95": 1e3 * np.log(20) / 100}
    assert min(coverage(queue, truth).values()) >= 0.88


@pytest.mark.parametrize("correlation", [0.3, 0.6])
def test_the_block_length_is_that_of_theory(correlation: float) -> None:
    """Politis and White give it for an AR(1) process; of 2,000 values, half to twice of it is found."""
    count = 2000
    best = (6 * (correlation / (1 - correlation**2)) ** 2 * count) ** (1 / 3)
    random = np.random.default_rng(3)
    made = [lfilter([1.0], [1.0, -correlation], random.normal(size=count + 200))[200:] for _ in range(40)]
    assert best / 2 < float(np.median([block_length(series) for series in made])) < 2 * best


def test_what_has_no_memory_needs_no_blocks() -> None:
    """Independent values, and values that are all alike."""
    random = np.random.default_rng(4)
    assert float(np.median([block_length(random.normal(size=200)) for _ in range(40)])) < 2
    assert block_length(np.zeros(30)) == 1


@given(
    counts=st.lists(st.integers(5, 40), min_size=20, max_size=80),
    seed=st.integers(0, 100),
)
def test_intervals_hold_the_windows_own_figures(counts: list[int], seed: int) -> None:
    """In order, around what the window itself shows, and the same for the same seed."""
    random = np.random.default_rng(seed)
    slices = tuple(
        Slice(
            begin_ns=at * 100 * MS,
            end_ns=(at + 1) * 100 * MS,
            correct=count,
            response_times=Histogram.of(random.integers(MS, 9 * MS, count)),
        )
        for at, count in enumerate(counts)
    )
    found = within_run(slices, seed=1)
    assert found is not None
    assert found == within_run(slices, seed=1)
    low, high = found.throughput_per_s
    assert 0 <= low <= 10 * sum(counts) / len(counts) * ROUNDED
    assert high * ROUNDED >= 10 * sum(counts) / len(counts)
    pooled = Histogram.merged(one.response_times for one in slices)
    for name, interval in found.response_time_ms.items():
        place = pooled.percentile(float(name[1:]))
        assert place is not None
        if interval is not None:
            assert interval[0] <= place / 1e6 <= interval[1]
    assert found.block_s >= 0.1


def test_too_little_tells_nothing() -> None:
    """A few slices, a few replies, or none: no interval at all; of few replies none of the p99."""
    made = closed_loop(100.0, 0.0)(np.random.default_rng(1))
    assert within_run(made[:9]) is None
    assert within_run(()) is None
    assert within_run(closed_loop(10.0, 0.0)(np.random.default_rng(1))) is None
    found = within_run(made[:20])
    assert found is not None
    assert found.response_time_ms["p99"] is None
    assert found.response_time_ms["p50"] is not None


def test_a_record_says_how_and_why_not() -> None:
    """Method, blocks and intervals; a load that changes its rate has none, nor what may not be published."""
    samples = made_up_samples([4.0, 5.0, 6.0, 9.0] * 100)
    told = within_run_facts(samples, Load(), publishable=True)
    assert told["method"] == "circular block bootstrap"
    assert told["absent"] == ""
    assert told["block_s"] == pytest.approx(0.1)
    low, high = told["throughput_per_s"]
    assert low <= 200 * ROUNDED
    assert high * ROUNDED >= 200
    assert told == within_run_facts(samples, Load(arrivals=Poisson(200)), publishable=True)
    staged = Load(arrivals=Staged(stages=(Stage(1, 50), Stage(1, 90))))
    for absent, facts in (
        ("changes its rate", within_run_facts(samples, staged, publishable=True)),
        ("may be published", within_run_facts(samples, Load(), publishable=False)),
        ("may be published", within_run_facts(None, Load(), publishable=True)),
        ("too few replies", within_run_facts(made_up_samples([4.0] * 20), Load(), publishable=True)),
    ):
        assert absent in facts["absent"]
        assert facts["throughput_per_s"] is facts["block_s"] is None
        assert set(facts["response_time_ms"].values()) == {None}
