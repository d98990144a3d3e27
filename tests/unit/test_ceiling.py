"""The ceiling: how it is asked for, when it is measured again, and what is said where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.ceiling import OPEN_IN_FLIGHT, Ceilings, length_of
from pytest_servebench.errors import LaunchError, LoadError
from pytest_servebench.plan import Engine, Load, WireProtocol, WireRequest
from pytest_servebench.results import Ceiling, Endpoint
from pytest_servebench.samples import Reply
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver

LOAD = Load(concurrency=4, warmup_s=2.0, duration_s=60.0, steady=True, precision=0.05)
REPLY = Reply(200, {"content-type": "x"}, b"y" * 500)


@dataclass
class House:
    """A fake driver, and a null server that says what it was asked to be."""

    reply: Reply | LoadError = REPLY
    started: list[tuple[WireProtocol, str, int]] = field(default_factory=list)
    fails: LaunchError | None = None

    def __post_init__(self) -> None:
        self.driver = FakeDriver(answering=self.answer, clock=FakeClock(), service_s=0.02)
        self.ceilings = Ceilings(self.driver, self.serving)

    def answer(self, _endpoint: Endpoint, _request: WireRequest) -> Reply:
        if isinstance(self.reply, LoadError):
            raise self.reply
        return self.reply

    @contextmanager
    def serving(self, protocol: WireProtocol, role: str, reply_bytes: int) -> Iterator[Endpoint]:
        self.started.append((protocol, role, reply_bytes))
        if self.fails is not None:
            raise self.fails
        yield Endpoint(stack="null", host="127.0.0.1", ports={role: 1}, launcher="ceiling")

    def of(
        self, load: Load = LOAD, asked: Sequence[WireRequest] | None = None, reply: Reply = REPLY
    ) -> Ceiling:
        return self.ceilings.of(asked or [post()], reply, load)


def post(size: int = 1000) -> WireRequest:
    """Return a request of that size."""
    return WireRequest(protocol=WireProtocol.HTTP, path="/", body=bytes(size))


def test_the_ceiling_is_what_the_same_driver_reaches() -> None:
    """4 in flight, each answered after 20 ms, are 200 a second; nothing is left out."""
    house = House()
    assert house.of() == Ceiling(200.0)


def test_the_load_is_alike_but_short() -> None:
    """As many in flight, from as many workers, with the same share of replies kept, for half a second."""
    house = House()
    house.of(replace(LOAD, workers=("popen", "popen")))
    (load,) = house.driver.loads
    assert (load.concurrency, load.workers, load.verify_share) == (4, ("popen", "popen"), LOAD.verify_share)
    assert load.warmup_s + load.duration_s == pytest.approx(0.5)
    assert (load.steady, load.precision, load.arrivals) == (False, None, None)
    assert house.started == [(WireProtocol.HTTP, "http", 19 + 17 + 500)]


def test_a_short_load_has_a_shorter_ceiling() -> None:
    """What is asked to take a tenth of a second is not made to wait for half of one."""
    house = House()
    house.of(replace(LOAD, duration_s=0.1))
    assert house.driver.loads[0].duration_s == 0.1


def test_an_open_loop_is_held_to_what_a_busy_client_sends() -> None:
    """Its own arrivals say how much is sent, not how much could be."""
    house = House()
    house.of(replace(LOAD, arrivals=Poisson(50), concurrency=1))
    (load,) = house.driver.loads
    assert (load.arrivals, load.concurrency) == (None, OPEN_IN_FLIGHT)


def test_a_ceiling_is_measured_once() -> None:
    """Cases that differ by less than 5% in their sizes share it; format, model and length do not matter."""
    house = House()
    assert house.of() is house.of(replace(LOAD, seed=9, duration_s=3.0))
    house.of(asked=[post(990), post(1020)])
    house.of(reply=replace_body(REPLY, 505))
    assert len(house.driver.loads) == 1


@pytest.mark.parametrize(
    ("load", "size", "reply_bytes"),
    [
        (replace(LOAD, concurrency=5), 1000, 500),
        (replace(LOAD, workers=("popen",)), 1000, 500),
        (LOAD, 1200, 500),
        (LOAD, 1000, 700),
    ],
    ids=["in flight", "workers", "request", "reply"],
)
def test_what_changes_a_ceiling_is_measured_again(load: Load, size: int, reply_bytes: int) -> None:
    """Each of them costs the client something else."""
    house = House()
    house.of()
    house.of(load, [post(size)], replace_body(REPLY, reply_bytes))
    assert len(house.driver.loads) == 2


def test_another_protocol_has_another_ceiling() -> None:
    """Its replies are counted without their head, which is not the server's to choose."""
    house = House()
    house.of()
    house.of(asked=[replace(post(), protocol=WireProtocol.GRPC, port_role="grpc")])
    assert house.started[1] == (WireProtocol.GRPC, "grpc", 500)


def replace_body(reply: Reply, size: int) -> Reply:
    """Return the reply with a body of that size."""
    return Reply(reply.status, reply.headers, bytes(size))


@pytest.mark.parametrize(
    ("house", "load", "absent"),
    [
        (
            House(fails=LaunchError("The null server did not start.", seen="exit code 1")),
            LOAD,
            "the null server could not be loaded: The null server did not start. exit code 1",
        ),
        (
            House(reply=Reply(500, {}, b"")),
            LOAD,
            "the null server was not measured: status 500",
        ),
        (
            House(reply=LoadError("A request was not answered.")),
            LOAD,
            "the null server was not measured: A request was not answered.",
        ),
        (
            House(),
            replace(LOAD, workers=("popen", "ssh=far")),
            "a worker on another machine does not reach the null server of this one: ssh=far",
        ),
        (
            House(),
            replace(LOAD, engine=Engine.K6),
            "the load is made by k6, whose ceiling is its own",
        ),
    ],
    ids=["no server", "refused", "unanswered", "far worker", "k6"],
)
def test_what_cannot_be_measured_has_a_reason(house: House, load: Load, absent: str) -> None:
    """None with a sentence: never 0, and never a failed case."""
    assert house.of(load) == Ceiling(None, absent)


def test_the_length_of_a_reply() -> None:
    """Over HTTP all that the client has to read; over gRPC the message."""
    wire = b"HTTP/1.1 200 OK\r\ncontent-type: x\r\nserver: me\r\n\r\nhello"
    reply = Reply(200, {"content-type": "x", "server": "me"}, b"hello")
    assert length_of(reply, WireProtocol.HTTP) == len(wire)
    assert length_of(reply, WireProtocol.GRPC) == 5
