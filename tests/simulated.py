"""Simulated servers: when replies end and how long they took, without a clock; for tests of judgement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from pytest_servebench.samples import Outcome, Samples, Slice
from pytest_servebench.statistics.slices import window_slices

Numbers = npt.NDArray[np.float64]
Random = np.random.Generator


def samples_from(ended_s: Numbers, times_s: Numbers, length_s: float, begin_s: float = 0.0) -> Samples:
    """Return samples of correct replies in a window from ``begin_s`` on."""
    inside = ended_s < begin_s + length_s + 1.0
    received = np.rint(ended_s[inside] * 1e9).astype(np.int64) + 10**12
    sent = received - np.rint(times_s[inside] * 1e9).astype(np.int64)
    order = np.argsort(sent, kind="stable")
    begin = 10**12 + round(begin_s * 1e9)
    return Samples(
        intended_ns=sent[order],
        sent_ns=sent[order],
        received_ns=received[order],
        outcome=np.full(len(sent), Outcome.OK, dtype=np.uint8),
        request_index=np.zeros(len(sent), dtype=np.int32),
        window_ns=(begin, begin + round(length_s * 1e9)),
    )


def line(ended_s: Numbers, times_s: Numbers, length_s: float, begin_s: float = 0.0) -> tuple[Slice, ...]:
    """Return the slices of such a window."""
    return window_slices(samples_from(ended_s, times_s, length_s, begin_s))


def autocorrelated(random: Random, count: int, correlation: float, spread: float = 0.3) -> Numbers:
    """Return log-normal factors of median 1 whose logarithm is a stationary AR(1) process."""
    noise = random.normal(0.0, spread * np.sqrt(1 - correlation**2), count)
    noise[0] = random.normal(0.0, spread)
    factors: Numbers = np.exp(lfilter([1.0], [1.0, -correlation], noise))
    return factors


def one_by_one(services_s: Numbers) -> tuple[Numbers, Numbers]:
    """Return ends and times of a closed loop with one request in flight."""
    return np.cumsum(services_s), services_s


def in_batches(rounds_s: Numbers, batch: int) -> tuple[Numbers, Numbers]:
    """Return ends and times of a closed loop that keeps two batches in flight: each waits for the other."""
    ends = np.cumsum(rounds_s)
    times = rounds_s + np.concatenate([[0.0], rounds_s[:-1]])
    return np.repeat(ends, batch), np.repeat(times, batch)


def poisson_queue(random: Random, per_s: float, services_s: Numbers) -> tuple[Numbers, Numbers]:
    """Return ends and times of an open loop with one server and an endless queue (Lindley)."""
    arrivals = np.cumsum(random.exponential(1 / per_s, len(services_s)))
    work = np.cumsum(services_s)
    ends = work + np.maximum.accumulate(arrivals - (work - services_s))
    return ends, ends - arrivals
