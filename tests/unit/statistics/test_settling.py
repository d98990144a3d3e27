"""A warm-up ends when the server has settled: not on a ramp, not on two replies, and not never."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load.helm import LocalHelm
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.statistics.settling import FEWEST_REPLIES, WINDOWS, settled
from tests.simulated import Numbers, Random, autocorrelated, in_batches, line, one_by_one, poisson_queue

LIMIT_S = 20.0
Made = Callable[[Random], tuple[Slice, ...]]
Pace = Callable[[float], float]
"""How many times slower than at last the server is, by seconds from its start."""


def settles_at_s(slices: tuple[Slice, ...]) -> float:
    """Return when the helm would end this warm-up; LIMIT_S when never."""
    helm = LocalHelm(Load(steady=True))
    asked = (k for k in range(1, len(slices) + 1) if helm.warmed_up(slices[:k], k) is not None)
    return next((k / 10 for k in asked), LIMIT_S)


def settling_s(make: Made, runs: int = 30) -> Numbers:
    """Return when each of some runs settles."""
    return np.array([settles_at_s(make(np.random.default_rng(seed))) for seed in range(runs)])


def warming(per_s: float, pace: Pace, correlation: float = 0.3, spread: float = 0.2) -> Made:
    """Return a server with one request in flight, slower at first by ``pace``."""

    def made(random: Random) -> tuple[Slice, ...]:
        now, services = 0.0, []
        for factor in autocorrelated(random, round(LIMIT_S * per_s * 1.5), correlation, spread):
            services.append(factor * pace(now) / per_s)
            now += services[-1]
            if now > LIMIT_S + 1:
                break
        return line(*one_by_one(np.array(services)), LIMIT_S)

    return made


def batching(per_s: float, batch: int) -> Made:
    """Return a server that answers ``batch`` requests in one instant."""

    def made(random: Random) -> tuple[Slice, ...]:
        rounds = random.uniform(0.9, 1.1, round(LIMIT_S * per_s * 1.5 / batch)) * batch / per_s
        return line(*in_batches(rounds, batch), LIMIT_S)

    return made


def busy(random: Random) -> tuple[Slice, ...]:
    """Return an open loop at a server that is busy for 60% of the time."""
    return line(*poisson_queue(random, 200, random.exponential(0.6 / 200, 6000)), LIMIT_S, 1.0)


def level(_at_s: float) -> float:
    """Warm from the start."""
    return 1.0


@pytest.mark.parametrize(
    ("make", "by_s"),
    [
        (warming(10, level), 10),
        (warming(50, level), 3),
        (warming(1000, level), 2),
        (warming(100, level, correlation=0.9), 10),
        (batching(10, 8), 8),
        (batching(10, 4), 5),
        (batching(45, 16), 4),
        (batching(400, 32), 2),
        (busy, LIMIT_S),
    ],
    ids=["10/s", "50/s", "1000/s", "ar 0.9", "10/s by 8", "10/s by 4", "45/s by 16", "400/s by 32", "queue"],
)
def test_a_steady_server_settles(make: Made, by_s: float) -> None:
    """Chance, batches and memory do not keep a warm-up from ending, nine times of ten in time."""
    assert np.percentile(settling_s(make), 90) < by_s


@pytest.mark.parametrize("per_s", [20, 100, 1000])
@pytest.mark.parametrize("decay_s", [0.5, 1.0])
def test_a_cold_cache_is_waited_for(decay_s: float, per_s: float) -> None:
    """Five times slower at first: when it ends, at most a quarter of that is left, of few replies too."""
    left = 4 * np.exp(-settling_s(warming(per_s, lambda at_s: 1 + 4 * np.exp(-at_s / decay_s))) / decay_s)
    assert np.all(left < 1.0)
    assert np.median(left) < 0.25


def test_a_ramp_is_not_settled() -> None:
    """A server that goes on getting faster settles when it is done, not before."""
    ramp = warming(1000, lambda at_s: max(1.0, 4 - 0.5 * at_s))
    assert np.all(settling_s(ramp, 10) > 6.0)


@pytest.mark.parametrize("period_s", [0.5, 1.0, 3.0])
def test_an_oscillation_settles_in_its_periods(period_s: float) -> None:
    """Windows lengthen until a period fits in: a server that swings for ever has settled all the same."""
    swing = warming(300, lambda at_s: 1 + 0.3 * np.sin(2 * np.pi * at_s / period_s))
    assert np.all(settling_s(swing) <= 10.0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=100), st.integers(1, 10**9))
def test_nothing_settles_on_a_few_replies(counts: list[int], took_ns: int) -> None:
    """Each window must hold ten replies, however alike they are."""
    ended = np.repeat(np.arange(len(counts)) / 10 + 0.05, counts)
    slices = line(ended, np.full(len(ended), took_ns / 1e9), len(counts) / 10)
    if sum(counts) < WINDOWS * FEWEST_REPLIES:
        assert not settled(slices)


def test_without_a_reply_nothing_is_settled() -> None:
    """A server that does not answer is not steady, and no slices are none."""
    assert not settled(())
    assert not settled(tuple(Slice(begin_ns=k, end_ns=k + 1) for k in range(100)))


def test_response_times_must_agree_too() -> None:
    """A queue that empties has an even throughput, and a response time that falls."""
    ends = np.arange(1, 2000) / 1000
    assert settled(line(ends, np.full(len(ends), 0.05), 1.9))
    assert not settled(line(ends, np.maximum(0.05, 0.4 - ends / 5), 1.9))


def test_a_fixed_warm_up_never_ends_early() -> None:
    """Nobody asked for it."""
    slices = warming(1000, level)(np.random.default_rng(0))
    assert LocalHelm(Load()).warmed_up(slices, 1) is None
    assert LocalHelm(Load()).enough(slices, 1) is None
