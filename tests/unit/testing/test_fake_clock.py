"""Rules of the fake clock: time passes only when it is told to."""

from __future__ import annotations

import pytest

from pytest_servebench.interfaces import Clock
from pytest_servebench.testing.clock import FakeClock


def test_time_stands_still_and_sleeping_is_exact() -> None:
    """A test decides when time passes; what was slept is remembered."""
    clock = FakeClock(now_ns=5)
    as_contract: Clock = clock
    assert as_contract.now_ns() == as_contract.now_ns() == 5
    clock.sleep_s(1.5)
    clock.advance_s(0.5)
    assert clock.now_ns() == 2_000_000_005
    assert clock.slept_s == [1.5]


def test_time_does_not_go_backwards() -> None:
    """A negative sleep is the caller's mistake, as with the real clock."""
    with pytest.raises(ValueError, match="does not go backwards"):
        FakeClock().sleep_s(-1)
