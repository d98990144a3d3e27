"""The batching rule, in virtual time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

import pytest
from fastapi_app.backlog import Backlog, BacklogFullError, BatchingRule, Hold, Waiting
from hypothesis import given
from hypothesis import strategies as st

DELAY_NS = 1000


def rule(
    hold: Hold = "expected", *, max_batch_size: int = 8, delay_ns: int = DELAY_NS, queue_size: int = 100
) -> BatchingRule:
    """Return a rule that differs from the usual one in one point."""
    return BatchingRule(
        max_batch_size=max_batch_size, max_queue_delay_ns=delay_ns, queue_size=queue_size, hold=hold
    )


def backlog(hold: Hold = "expected", *, max_batch_size: int = 8, queue_size: int = 100) -> Backlog[str]:
    """Return an empty backlog."""
    return Backlog(rule(hold, max_batch_size=max_batch_size, queue_size=queue_size))


def request(name: str, arrived_ns: int = 0, images: int = 1, *, alone: bool = False) -> Waiting[str]:
    """Return a request that arrived at an instant."""
    return Waiting(name, images, arrived_ns, alone=alone)


def names(batch: list[Waiting[str]]) -> list[str]:
    """Return who is in a batch."""
    return [waiting.ticket for waiting in batch]


def test_lone_request_goes_at_once() -> None:
    """One client that has always been alone never waits for the queue delay."""
    waiting = backlog()
    waiting.add(request("a", 5))
    assert waiting.hold_until_ns(5) == 5
    assert names(waiting.take(5)) == ["a"]


def test_nothing_waits() -> None:
    """An empty backlog has no instant at which something may go."""
    assert backlog().hold_until_ns(0) is None


def test_always_holds_until_the_delay_is_over() -> None:
    """Under ``always`` even a lone request is held for the whole delay, as Triton does."""
    waiting = backlog("always")
    waiting.add(request("a", 5))
    assert waiting.hold_until_ns(5) == 5 + DELAY_NS
    assert waiting.hold_until_ns(5 + DELAY_NS) == 5 + DELAY_NS


def test_never_holds() -> None:
    """Under ``never`` a batch goes as soon as the engine is idle, however small."""
    waiting = backlog("never")
    waiting.add(request("a"))
    waiting.add(request("b"))
    waiting.take(0)
    waiting.add(request("c", 1))
    assert waiting.hold_until_ns(1) == 1


def test_two_engines_share_those_that_are_expected() -> None:
    """Of eight clients each engine takes four: neither waits for the four that the other computes."""
    waiting: Backlog[str] = Backlog(replace(rule(), engines=2))
    for name in "abcdefgh":
        waiting.add(request(name))
    waiting.take(0)
    for name in "abc":
        waiting.add(request(name, 1))
    assert waiting.hold_until_ns(1) == 1 + DELAY_NS
    waiting.add(request("d", 2))
    assert waiting.hold_until_ns(2) == 2


def test_nobody_is_waited_for_who_computes_on_another_engine() -> None:
    """Five of six compute elsewhere: the sixth goes at once."""
    waiting: Backlog[str] = Backlog(replace(rule(), engines=2))
    for name in "abcdef":
        waiting.add(request(name))
    waiting.take(0)
    waiting.computing = 5
    waiting.add(request("f", 1))
    assert waiting.hold_until_ns(1) == 1


def test_a_hold_in_vain_expects_those_that_compute_elsewhere_too() -> None:
    """They come back: only who is neither here nor there is expected no longer."""
    waiting: Backlog[str] = Backlog(replace(rule("expected"), engines=2))
    for name in "abcdefgh":
        waiting.add(request(name))
    waiting.take(0)
    waiting.computing = 3
    waiting.add(request("a", 1))
    waiting.take(1 + DELAY_NS)
    waiting.computing = 0
    waiting.add(request("b", 2 * DELAY_NS))
    # Four are expected, two for each engine.
    assert waiting.hold_until_ns(2 * DELAY_NS) == 3 * DELAY_NS
    waiting.add(request("c", 2 * DELAY_NS))
    assert waiting.hold_until_ns(2 * DELAY_NS) == 2 * DELAY_NS


@pytest.mark.parametrize("hold", ["always", "expected", "never"])
def test_full_batch_goes_at_once(hold: Hold) -> None:
    """A batch of max batch size is never held."""
    waiting = backlog(hold, max_batch_size=2)
    for name in "abc":
        waiting.add(request(name))
    assert waiting.hold_until_ns(0) == 0
    assert names(waiting.take(0)) == ["a", "b"]
    assert len(waiting) == 1


def test_request_that_does_not_fit_releases_the_batch_before_it() -> None:
    """A request's images stay together; the batch it does not fit into has no more to wait for."""
    waiting = backlog("always", max_batch_size=4)
    waiting.add(request("three", images=3))
    waiting.add(request("two", images=2))
    assert waiting.hold_until_ns(0) == 0
    assert names(waiting.take(0)) == ["three"]
    assert waiting.hold_until_ns(0) == DELAY_NS


def test_expected_images_are_waited_for() -> None:
    """Where two were in the server at once, one is held so that the other can join."""
    waiting = backlog()
    waiting.add(request("a"))
    waiting.add(request("b"))
    waiting.take(0)
    waiting.add(request("a2", 10))
    assert waiting.hold_until_ns(10) == 10 + DELAY_NS
    waiting.add(request("b2", 20))
    assert waiting.hold_until_ns(20) == 20


def test_images_that_compute_are_expected_back() -> None:
    """A request that arrives while another computes raises the expectation to both."""
    waiting = backlog()
    waiting.add(request("a"))
    waiting.take(0)
    waiting.computing = 1
    waiting.add(request("b", 10))
    waiting.computing = 0
    assert waiting.hold_until_ns(20) == 10 + DELAY_NS


def test_hold_in_vain_lowers_the_expectation() -> None:
    """After one hold that nobody joined, a lone client goes at once again."""
    waiting = backlog()
    waiting.add(request("a"))
    waiting.add(request("b"))
    waiting.take(0)
    waiting.add(request("a2", 10))
    waiting.take(10 + DELAY_NS)
    waiting.add(request("a3", 5000))
    assert waiting.hold_until_ns(5000) == 5000


def test_request_that_waited_for_the_engine_is_not_held() -> None:
    """The delay counts from arrival: who waited longer for a busy engine goes when it is idle."""
    waiting = backlog("always")
    waiting.add(request("a", 0))
    assert waiting.hold_until_ns(50 * DELAY_NS) == 50 * DELAY_NS


def test_draining_holds_nothing() -> None:
    """A server that stops answers what waits without waiting for more."""
    waiting = backlog("always")
    waiting.add(request("a"))
    assert waiting.hold_until_ns(0, draining=True) == 0


def test_request_alone_shares_no_execution() -> None:
    """A request alone goes at once and by itself, and ends the batch before it."""
    waiting = backlog("always")
    for name in ("a", "alone", "b"):
        waiting.add(request(name, alone=name == "alone"))
    batches = []
    while waiting.hold_until_ns(0) == 0:
        batches.append(names(waiting.take(0)))
    assert batches == [["a"], ["alone"]]
    assert len(waiting) == 1


def test_full_backlog_refuses() -> None:
    """The queue is bounded, and a forgotten request gives its place back."""
    waiting = backlog(queue_size=1)
    first = request("a")
    waiting.add(first)
    with pytest.raises(BacklogFullError):
        waiting.add(request("b"))
    assert waiting.forget(first)
    waiting.add(request("b"))
    assert names(waiting.take(0)) == ["b"]


def test_request_that_went_cannot_be_forgotten() -> None:
    """Forgetting a request that computes changes nothing."""
    waiting = backlog()
    first = request("a")
    waiting.add(first)
    waiting.take(0)
    assert not waiting.forget(first)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=40),
    hold=st.sampled_from(["expected", "always", "never"]),
    step_ns=st.integers(0, 3 * DELAY_NS),
)
def test_every_request_goes_once_in_order_and_in_time(
    sizes: list[tuple[int, bool]], hold: Hold, step_ns: int
) -> None:
    """Whatever arrives: order is kept, no batch exceeds the maximum, no hold exceeds the delay."""
    waiting = backlog(hold)
    gone: list[str] = []
    for number, (images, alone) in enumerate(sizes):
        now_ns = number * step_ns
        waiting.add(request(str(number), now_ns, images, alone=alone))
        until_ns = waiting.hold_until_ns(now_ns)
        assert until_ns is not None
        assert now_ns <= until_ns <= now_ns + DELAY_NS
        while waiting.hold_until_ns(now_ns) == now_ns:
            batch = waiting.take(now_ns)
            assert sum(one.images for one in batch) <= 8
            assert len(batch) == 1 or not any(one.alone for one in batch)
            gone += names(batch)
    while len(waiting):
        gone += names(waiting.take(0))
    assert gone == [str(number) for number in range(len(sizes))]


@dataclass
class ClosedLoop:
    """Clients in virtual time: each asks again ``turnaround_ns`` after its answer."""

    backlog: Backlog[str]
    clients: int
    compute_ns: int
    turnaround_ns: int
    batches: list[int] = field(default_factory=list)
    waited_ns: list[int] = field(default_factory=list)

    def run(self, executions: int) -> None:
        # Clients start one after the other, as processes do.
        arrivals = [(10 * client, str(client)) for client in range(self.clients)]
        now_ns = 0
        while len(self.batches) < executions:
            until_ns = self.backlog.hold_until_ns(now_ns)
            if until_ns == now_ns:
                now_ns = self._execute(arrivals, now_ns)
                continue
            now_ns = min(at_ns for at_ns in (until_ns, *(due for due, _ in arrivals)) if at_ns is not None)
            self._arrive(arrivals, now_ns)

    def _execute(self, arrivals: list[tuple[int, str]], now_ns: int) -> int:
        batch = self.backlog.take(now_ns)
        self.backlog.computing = len(batch)
        self.batches.append(len(batch))
        self.waited_ns += [now_ns - waiting.arrived_ns for waiting in batch]
        ended_ns = now_ns + self.compute_ns
        self._arrive(arrivals, ended_ns)
        self.backlog.computing = 0
        for place, waiting in enumerate(batch):
            heapq.heappush(arrivals, (ended_ns + self.turnaround_ns + place, waiting.ticket))
        return ended_ns

    def _arrive(self, arrivals: list[tuple[int, str]], now_ns: int) -> None:
        while arrivals and arrivals[0][0] <= now_ns:
            at_ns, name = heapq.heappop(arrivals)
            self.backlog.add(request(name, at_ns))


@pytest.mark.parametrize(
    ("clients", "compute_ns", "batch"),
    [
        (1, 500, 1),
        (2, 500, 2),
        (8, 500, 8),
        (16, 500, 8),
        (16, 50 * DELAY_NS, 8),
        (64, 50 * DELAY_NS, 8),
    ],
)
def test_batches_of_a_closed_loop(clients: int, compute_ns: int, batch: int) -> None:
    """Clients of a closed loop meet in one batch; with twice the maximum in flight all batches are full."""
    loop = ClosedLoop(backlog(), clients, compute_ns, turnaround_ns=DELAY_NS // 10)
    loop.run(60)
    assert set(loop.batches[20:]) == {batch}


def test_lone_client_of_a_closed_loop_never_waits() -> None:
    """One in flight adds no delay at all, whatever the maximum delay is."""
    loop = ClosedLoop(backlog(), 1, 500, turnaround_ns=100)
    loop.run(50)
    assert max(loop.waited_ns) == 0
