"""The fake driver keeps the promises of `interfaces.Driver`."""

from __future__ import annotations

import pytest

from pytest_servebench.asking import question_of
from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Driver
from pytest_servebench.plan import Load
from pytest_servebench.samples import Outcome
from pytest_servebench.testing.clock import FakeClock
from tests.echo_house import EchoHouse, Onlooker, case, deployment, said

LOAD = Load(concurrency=2, warmup_s=0.5, duration_s=1.0)


def test_sends_round_robin_for_warm_up_and_window() -> None:
    """Requests follow each other in order, on fake time, and only the window's replies are kept."""
    house = EchoHouse()
    driver: Driver = house.driver
    endpoint = house.pool.ready(deployment()).endpoint
    requests = question_of(case(), house.rooms)[0].requests
    began_ns = house.clock.now_ns()
    samples = driver.run(endpoint, requests, LOAD, Onlooker())
    assert samples.window_ns == (began_ns + 5 * 10**8, began_ns + 15 * 10**8)
    assert list(samples.request_index[:18]) == [*range(16), 0, 1]
    assert (samples.outcome == Outcome.OK).all()
    assert (samples.received_ns - samples.sent_ns == 5 * 10**7).all()
    assert sorted(samples.replies) == list(range(20, 60))


def test_failures_are_outcomes_and_a_dead_server_ends_the_load() -> None:
    """A status is an HTTP error, silence a transport error, and the watch is asked why."""
    house = EchoHouse(answers=lambda _: said("no", 500))
    endpoint = house.pool.ready(deployment()).endpoint
    requests = question_of(case(), house.rooms)[0].requests
    samples = house.driver.run(endpoint, requests, LOAD, Onlooker())
    assert set(samples.outcome) == {Outcome.HTTP_ERROR}
    assert samples.first_error == "status 500"

    class Bad(Onlooker):
        def server_gone(self) -> str | None:
            return "exit code 7"

    house.server.die(7)
    samples = house.driver.run(endpoint, requests, LOAD, Bad())
    assert list(samples.outcome) == [Outcome.TRANSPORT_ERROR] * 2
    assert samples.first_error == "the server is gone: exit code 7"
    assert samples.window_ns[0] < samples.window_ns[1]
    with pytest.raises(LoadError):
        house.driver.exchange(endpoint, requests[0], 1.0)


def test_a_clock_can_be_shared() -> None:
    """What the driver spends passes for everybody who holds its clock."""
    house = EchoHouse(clock=FakeClock(0))
    house.pool.ready(deployment("controlled"))
    assert house.clock.now_ns() == 5 * 10**7
