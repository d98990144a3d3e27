"""A driver whose server is a queue on paper: what it can hold is known, and an hour of it takes no time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from math import inf, log
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.arrivals import Poisson
from pytest_servebench.interfaces import Watch
from pytest_servebench.load.arrivals import schedule
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome, Reply, Samples
from pytest_servebench.testing.driver import FakeDriver
from tests.echo_house import EchoHouse

Rows = npt.NDArray[Any]


def mm1_capacity_per_s(service_per_s: float, percentile: int, limit_s: float) -> float:
    """Return the Poisson rate at which an M/M/1 queue's response time has its percentile at the limit.

    Its response time is exponential with rate mu - lambda (Kleinrock, Queueing Systems I, 3.2).
    """
    return service_per_s + log(1 - percentile / 100) / limit_s


@dataclass(kw_only=True)
class QueueDriver:
    """Satisfies `interfaces.Driver`; requests outside loads go to ``asked``."""

    asked: FakeDriver
    service_per_s: Callable[[float], float]
    """How many requests the server does a second when it is busy, by the rate that it is offered."""
    exponential: bool = True
    """Whether service times are exponential (M/M/1); else they are all alike (M/D/1)."""
    lag_ms: Callable[[float], float] = lambda _rate_per_s: 0.0
    """How late the client sends, by the rate."""
    spoil: Callable[[Load, Rows], Rows] = lambda _load, outcome: outcome
    """What becomes of the outcomes of a load."""
    loads: list[Load] = field(default_factory=list)

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        return self.asked.exchange(endpoint, request, timeout_s)

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        """Return what a load would have seen; a closed loop keeps the server busy all the time."""
        self.loads.append(load)
        clock = self.asked.clock
        start_ns, whole_s = clock.now_ns(), load.warmup_s + load.duration_s
        clock.advance_s(whole_s)
        rate_per_s = load.arrivals.per_s if isinstance(load.arrivals, Poisson) else inf
        random = np.random.default_rng((load.seed, 7))
        intended = _intended_s(load, whole_s)
        count = round(whole_s * self.service_per_s(inf)) if intended is None else len(intended)
        services = (random.exponential(size=count) if self.exponential else np.ones(count)) / (
            self.service_per_s(rate_per_s)
        )
        done = np.cumsum(services)
        if intended is None:
            intended = np.concatenate([np.zeros(load.concurrency), done])[:count]
        sent = intended + self.lag_ms(rate_per_s) / 1e3
        # Lindley's recursion, begun[i] = max(sent[i], received[i - 1]), without a loop.
        received = done + np.maximum.accumulate(sent - (done - services))
        outcome = self.spoil(load, np.full(count, Outcome.OK, dtype=np.uint8))
        return Samples(
            intended_ns=_at(start_ns, intended),
            sent_ns=_at(start_ns, sent),
            received_ns=_at(start_ns, received),
            outcome=outcome,
            request_index=np.zeros(count, dtype=np.int32),
            window_ns=(start_ns + round(load.warmup_s * 1e9), start_ns + round(whole_s * 1e9)),
        )


def _intended_s(load: Load, whole_s: float) -> Rows | None:
    if load.arrivals is None:
        return None
    whole_ns = whole_s * 1e9
    chunks = takewhile(lambda chunk: chunk[0] <= whole_ns, schedule(load.arrivals, load.seed))
    offsets_ns = np.concatenate([np.empty(0, dtype=np.int64), *chunks])
    inside: Rows = offsets_ns[offsets_ns <= whole_ns] / 1e9
    return inside


def _at(start_ns: int, instants_s: Rows) -> npt.NDArray[np.int64]:
    instants_ns: npt.NDArray[np.int64] = start_ns + np.rint(instants_s * 1e9).astype(np.int64)
    return instants_ns


def queue_house(
    service_per_s: float | Callable[[float], float], **settings: Any
) -> tuple[EchoHouse, QueueDriver]:
    """Return a house of echo stacks whose loads meet a queue, and its driver."""
    house = EchoHouse()
    of_rate = service_per_s if callable(service_per_s) else lambda _rate: float(service_per_s)
    driver = QueueDriver(asked=house.driver, service_per_s=of_rate, **settings)
    house.rooms = replace(house.rooms, driver=driver)
    return house, driver
