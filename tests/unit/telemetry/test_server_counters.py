from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.telemetry.server import achieved

FIGURES = ("batch_size_achieved", "queue_time_ms", "compute_time_ms")
BEFORE = ServerCounters(images=100, executions=50, queue_s=1.0, compute_s=2.0, requests=80)
AFTER = ServerCounters(images=500, executions=150, queue_s=1.5, compute_s=6.0, requests=180)


def test_means_are_those_of_the_window() -> None:
    """Only what happened between the readings counts, per execution and per request, in ms."""
    got = achieved(BEFORE, AFTER)
    assert got.batch_size_achieved == 4.0
    assert got.queue_time_ms == pytest.approx(5.0)
    assert got.compute_time_ms == pytest.approx(40.0)
    assert got.absent == {}


def test_an_empty_queue_is_a_figure() -> None:
    """Requests that never waited had a queue time of 0, which is not absence."""
    after = ServerCounters(images=500, executions=150, queue_s=1.0, compute_s=6.0, requests=180)
    assert achieved(BEFORE, after).queue_time_ms == 0.0


def test_nothing_in_the_window() -> None:
    """A window without executions has no batch size, not one of 0."""
    got = achieved(BEFORE, BEFORE)
    assert [getattr(got, name) for name in FIGURES] == [None] * 3
    assert got.absent == {
        "batch_size_achieved": "no executions in the window",
        "queue_time_ms": "no requests in the window",
        "compute_time_ms": "no requests in the window",
    }


def test_what_is_not_reported_is_absent_alone() -> None:
    """A server that counts images but not its queue has a batch size and a reason."""
    got = achieved(ServerCounters(images=0, executions=0), ServerCounters(images=8, executions=2))
    assert got.batch_size_achieved == 4.0
    assert got.absent == {
        "queue_time_ms": "the server does not report queue_s",
        "compute_time_ms": "the server does not report compute_s",
    }


def test_no_counters_at_all() -> None:
    """A server without counters has three reasons."""
    assert achieved(None, AFTER).absent == dict.fromkeys(FIGURES, "the server reports no counters")
    assert achieved(BEFORE, None).batch_size_achieved is None


def test_a_restart_voids_everything() -> None:
    """One counter that went backwards makes every difference worthless, also those that grew."""
    restarted = ServerCounters(images=3, executions=60, queue_s=9.0, compute_s=9.0, requests=90)
    reason = "the counter images went backwards, 100 to 3: a restart"
    got = achieved(BEFORE, restarted)
    assert got.absent == dict.fromkeys(FIGURES, reason)
    assert got.batch_size_achieved is None


counters = st.builds(
    ServerCounters,
    **{
        name: st.none() | st.floats(0, 1e9)
        for name in ("images", "executions", "queue_s", "compute_s", "requests")
    },
)


@given(counters, counters)
def test_each_figure_has_a_value_or_a_reason(before: ServerCounters, after: ServerCounters) -> None:
    """Whatever a server reports, a figure is a number of at least 0 or None with a reason."""
    got = achieved(before, after)
    for name in FIGURES:
        value = getattr(got, name)
        assert (value is None) == (name in got.absent)
        assert value is None or value >= 0
