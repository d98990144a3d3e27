"""The timer wakes epoll when it was told to."""

from __future__ import annotations

import select

import pytest

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.load.timer import Timer


def test_a_timer_wakes_epoll_at_its_instant_and_again_when_armed_again() -> None:
    """Never early, and edge-triggered: one event for each time it was armed, though nobody reads it."""
    timer = Timer()
    with select.epoll() as poller:
        poller.register(timer.fileno(), select.EPOLLIN | select.EPOLLET)
        assert poller.poll(0) == []
        for ahead_ns in (3_000_000, 500_000, -1_000_000):
            due_ns = monotonic_ns() + ahead_ns
            timer.arm(due_ns)
            assert poller.poll(5.0) == [(timer.fileno(), select.EPOLLIN)]
            assert monotonic_ns() >= due_ns
            assert poller.poll(0) == []
    timer.close()
    timer.close()


def test_a_timer_that_was_closed_cannot_be_armed() -> None:
    """A wrong descriptor is an OSError, not silence."""
    timer = Timer()
    timer.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        timer.arm(1)
