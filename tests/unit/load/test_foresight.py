"""When a closed loop wakes: before the next reply that can be foreseen, and never for long."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.load.foresight import SHORTEST_NS, Foresight, due_ns

FASTEST_NS = 5_000_000


@given(
    st.lists(st.integers(0, 10**9), max_size=40), st.integers(SHORTEST_NS, 10**8), st.integers(0, 2 * 10**9)
)
def test_the_next_reply_is_the_earliest_one_still_to_come(
    sent_ns: list[int], fastest_ns: int, now_ns: int
) -> None:
    """What is foreseen lies ahead, belongs to a request, and no other one's reply could come between."""
    found = due_ns(sent_ns, fastest_ns, now_ns)
    coming = [sent + fastest_ns for sent in sent_ns if sent + fastest_ns > now_ns]
    assert found == min(coming, default=None)


@pytest.mark.parametrize("fastest_ns", [0, SHORTEST_NS - 1])
def test_nothing_is_foreseen_of_a_fast_or_unknown_server(fastest_ns: int) -> None:
    """Replies within a millisecond come faster than one could sleep and wake."""
    assert due_ns([10**9], fastest_ns, 10**9) is None


@pytest.fixture
def pair() -> Iterator[tuple[select.epoll, socket.socket, socket.socket]]:
    """Two ends of a connection, the first of them watched."""
    near, far = socket.socketpair()
    poller = select.epoll()
    poller.register(near.fileno(), select.EPOLLIN)
    yield poller, near, far
    poller.close()
    near.close()
    far.close()


def test_a_reply_that_is_there_is_seen_whether_foreseen_or_not(
    pair: tuple[select.epoll, socket.socket, socket.socket],
) -> None:
    """Its descriptor is returned, and never the timer's."""
    poller, near, far = pair
    foresight = Foresight(poller)
    far.send(b"x")
    for foresight.fastest_ns in (0, FASTEST_NS):
        events = foresight.wait([monotonic_ns()], monotonic_ns() + 10**9, 8)
        assert [descriptor for descriptor, _ in events] == [near.fileno()]
    foresight.close()


@pytest.mark.parametrize("fastest_ns", [0, FASTEST_NS])
def test_without_a_reply_the_wait_ends_when_it_is_to(
    pair: tuple[select.epoll, socket.socket, socket.socket], fastest_ns: int
) -> None:
    """Not before the end, also when a reply was foreseen and did not come."""
    foresight = Foresight(pair[0])
    foresight.fastest_ns = fastest_ns
    until_ns = monotonic_ns() + 4 * FASTEST_NS
    assert foresight.wait([monotonic_ns()], until_ns, 8) == []
    assert monotonic_ns() >= until_ns
    foresight.close()
    foresight.close()
