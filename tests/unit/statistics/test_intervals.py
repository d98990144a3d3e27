"""The confidence intervals hold the truth about as often as they say, though replies are not independent."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pytest_servebench.load.helm import LocalHelm
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.intervals import FEWEST_REPLIES, Intervals, intervals_of, order_interval
from tests.simulated import Random, autocorrelated, in_batches, line, one_by_one, poisson_queue

RUNS = 200
SPREAD = 0.3
LEAST_COVERAGE = 0.90
"""Nominal is 0.95; of 200 runs at 0.95, 180 and fewer would hold the truth once in 700 times."""
Made = tuple[Slice, ...]


def replies(per_s: float, correlation: float, length_s: float) -> Callable[[Random], Made]:
    """Return a maker of windows: one request in flight, AR(1) service around ``1 / per_s``."""

    def made(random: Random) -> Made:
        services = autocorrelated(random, round((length_s + 6) * per_s * 1.5), correlation, SPREAD) / per_s
        return line(*one_by_one(services), length_s, random.uniform(2, 3))

    return made


def queue(per_s: float, busy: float, length_s: float) -> Callable[[Random], Made]:
    """Return a maker of windows: Poisson arrivals at an exponential server."""

    def made(random: Random) -> Made:
        services = random.exponential(busy / per_s, round((length_s + 6) * per_s * 1.3))
        return line(*poisson_queue(random, per_s, services), length_s, 3.0)

    return made


def p95_ms(per_s: float) -> float:
    """Return the true p95 of `replies`."""
    return float(1e3 / per_s * np.exp(SPREAD * norm.ppf(0.95)))


def rate(per_s: float) -> float:
    """Return the true throughput of `replies`."""
    return float(per_s / np.exp(SPREAD**2 / 2))


def holds(found: Intervals, per_s: float, p95: float) -> tuple[bool, bool]:
    """Return whether each interval holds the truth, give or take half a bucket."""
    (low, high), (short, long) = found.throughput_ci_per_s, found.p95_ci_ms
    return low <= per_s <= high, short * 0.9995 <= p95 <= long * 1.0005


@pytest.mark.parametrize(
    ("make", "true_per_s", "true_p95_ms"),
    [
        (replies(50, 0.0, 4), rate(50), p95_ms(50)),
        (replies(50, 0.5, 16), rate(50), p95_ms(50)),
        (replies(500, 0.9, 4), rate(500), p95_ms(500)),
        (replies(500, 0.97, 16), rate(500), p95_ms(500)),
        (queue(200, 0.5, 16), 200.0, log(20) / 200 * 1e3),
    ],
    ids=["independent", "ar 0.5", "ar 0.9", "ar 0.97", "queue"],
)
def test_coverage_is_near_nominal(
    make: Callable[[Random], Made], true_per_s: float, true_p95_ms: float
) -> None:
    """Service that remembers, and queues, do not make the intervals too narrow."""
    found = [intervals_of(make(np.random.default_rng(seed))) for seed in range(RUNS)]
    held = np.array([holds(one, true_per_s, true_p95_ms) for one in found if one is not None])
    assert len(held) == RUNS
    assert np.all(held.mean(axis=0) >= LEAST_COVERAGE), held.mean(axis=0)
    assert any(one is not None and one.throughput_width < 0.2 for one in found)


def test_stopping_when_narrow_keeps_the_coverage() -> None:
    """Looking again and again until the interval is narrow does not find one by luck."""
    make, held, seconds = replies(500, 0.9, 30), [], []
    for seed in range(100):
        slices, helm = make(np.random.default_rng(seed)), LocalHelm(Load(precision=0.1))
        length = next(k for k in range(1, len(slices)) if helm.enough(slices[:k], k) is not None)
        found = intervals_of(slices[:length])
        assert found is not None
        assert found.width <= 0.1
        held.append(holds(found, rate(500), p95_ms(500)))
        seconds.append(length / 10)
    assert np.all(np.mean(held, axis=0) >= 0.85), np.mean(held, axis=0)
    assert 2.0 <= np.median(seconds) < 10.0


def test_batches_are_not_so_many_replies() -> None:
    """Replies that leave eight at a time tell of as many rounds, not of eight times as many."""

    def widths(batch: int) -> float:
        found = []
        for seed in range(30):
            random = np.random.default_rng(seed)
            rounds = random.uniform(0.5, 1.5, 20_000 // batch) * batch / 400
            found.append(intervals_of(line(*in_batches(rounds, batch), 16.0, 2.0)))
        return float(np.median([one.p95_width for one in found if one is not None]))

    assert widths(8) > 1.5 * widths(1)


def test_few_replies_have_no_interval() -> None:
    """Below a hundred, or below ten slices, there is nothing to say; a p95 may have no upper end."""
    random = np.random.default_rng(0)
    few = line(*one_by_one(random.uniform(0.9, 1.1, 99) / 25), 4.0)
    assert sum(one.correct for one in few) < FEWEST_REPLIES
    assert intervals_of(few) is None
    assert intervals_of(replies(500, 0.0, 0.9)(random)) is None
    found = intervals_of(replies(50, 0.97, 4)(random))
    assert found is not None
    assert found.p95_ci_ms[1] == inf
    assert found.width == inf


def test_a_constant_server_is_known_exactly() -> None:
    """Without spread the intervals have no width, and nothing is divided by zero."""
    found = intervals_of(line(*one_by_one(np.full(1000, 0.01)), 4.0))
    assert found is not None
    assert found.throughput_per_s == pytest.approx(100, rel=0.01)
    assert found.width < 0.01


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0, 0.95), st.floats(30, 1000))
def test_an_interval_is_around_its_figure(seed: int, correlation: float, per_s: float) -> None:
    """Low <= figure <= high, and both figures are those of the pooled replies."""
    slices = replies(per_s, correlation, 4)(np.random.default_rng(seed))
    found = intervals_of(slices)
    if found is None:
        return
    pooled = Histogram.merged(one.response_times for one in slices)
    assert found.throughput_per_s == pytest.approx(sum(one.correct for one in slices) / 4.0)
    assert found.p95_ms == pytest.approx((pooled.percentile(95) or 0.0) / 1e6)
    for figure, (low, high) in (
        (found.throughput_per_s, found.throughput_ci_per_s),
        (found.p95_ms, found.p95_ci_ms),
    ):
        assert 0 <= low <= figure <= high


def test_order_statistics_bound_a_median_of_few() -> None:
    """Of 20 times, the 6th and the 15th bound the median: 95.9% by the binomial distribution."""
    times = Histogram.of(np.arange(1, 21) * 100)
    low, high = order_interval(times, 50)
    assert (low, high) == (600.0, 1500.0)
    assert order_interval(times, 95)[1] == inf
