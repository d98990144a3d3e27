from __future__ import annotations

from dataclasses import fields
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.results import Telemetry
from pytest_servebench.telemetry.server import FIGURES, achieved, nothing

THREE = ("batch_size_achieved", "queue_time_ms", "compute_time_ms")
PARTS = ("compute_input", "compute_infer", "compute_output")
BEFORE = ServerCounters(images=100, executions=50, queue_s=1.0, compute_s=2.0, requests=80)
AFTER = ServerCounters(images=500, executions=150, queue_s=1.5, compute_s=6.0, requests=180)


def test_means_are_those_of_the_window() -> None:
    """Only what happened between the readings counts, per execution and per request, in ms."""
    got = achieved(BEFORE, AFTER)
    assert got.batch_size_achieved == 4.0
    assert got.queue_time_ms == pytest.approx(5.0)
    assert got.compute_time_ms == pytest.approx(40.0)
    assert got.executions == 100
    assert not set(THREE) & got.absent.keys()


def test_the_parts_of_computing_are_per_request_and_the_handlers_time_per_batch() -> None:
    """As the servers count them: Triton charges a request its batch's time, TorchServe's handler a batch."""
    before = ServerCounters(
        requests=10,
        handler_s=1.0,
        handler_calls=5,
        compute_input_s=1.0,
        compute_infer_s=1.0,
        compute_output_s=1.0,
    )
    after = ServerCounters(
        requests=20,
        handler_s=2.0,
        handler_calls=10,
        compute_input_s=1.1,
        compute_infer_s=1.7,
        compute_output_s=1.2,
    )
    got = achieved(before, after)
    assert [getattr(got, f"{part}_ms") for part in PARTS] == pytest.approx([10.0, 70.0, 20.0])
    assert got.handler_time_ms == pytest.approx(200.0)


def test_batch_sizes_are_those_that_occurred() -> None:
    """A size that was not seen before the window began at 0; one that did not occur in it is left out."""
    before = ServerCounters(executions_by_batch={"1": 5, "2": 3})
    after = ServerCounters(executions_by_batch={"1": 9, "2": 3, "8": 2})
    assert achieved(before, after).batch_sizes == {"1": 4, "8": 2}
    assert achieved(before, before).batch_sizes == {}


def test_a_restart_shows_in_one_batch_size_alone() -> None:
    """Also where every other counter has caught up."""
    got = achieved(
        ServerCounters(executions=5, executions_by_batch={"1": 5}),
        ServerCounters(executions=9, executions_by_batch={"1": 4, "8": 5}),
    )
    assert got.executions is None
    assert got.absent["executions"] == "the counter executions of 1 went backwards, 5 to 4: a restart"


def test_a_batch_size_that_is_counted_no_more_is_a_restart() -> None:
    """A server tells the sizes that it has seen: a new one begins with none, however fast it is."""
    got = achieved(
        ServerCounters(executions=5, executions_by_batch={"1": 5}),
        ServerCounters(executions=9, executions_by_batch={"8": 9}),
    )
    assert got.batch_sizes is None
    assert got.absent["batch_sizes"] == "the counter executions of 1 went backwards, 5 to 0: a restart"


@pytest.mark.parametrize("broken", [nan, inf])
def test_a_counter_that_is_no_number_is_not_reported(broken: float) -> None:
    """Prometheus' text has words for them, and somebody's stack may hand them on: no figure, and no crash."""
    got = achieved(
        ServerCounters(images=0, executions=0, executions_by_batch={"1": 0, "8": 0}),
        ServerCounters(images=8, executions=broken, executions_by_batch={"1": 4, "8": broken}),
    )
    assert (got.executions, got.batch_size_achieved) == (None, None)
    assert got.absent["executions"] == "the server does not report executions"
    assert got.absent["batch_sizes"] == "the server does not report executions_by_batch"


def test_figures_are_joined_to_what_else_was_read() -> None:
    """Reasons of both are kept."""
    seen = Telemetry(server_cpu_cores=1.5, absent={"gpu_memory_bytes": "no GPU"})
    joined = achieved(BEFORE, AFTER).joined(seen)
    assert (joined.server_cpu_cores, joined.batch_size_achieved) == (1.5, 4.0)
    assert {"gpu_memory_bytes", "handler_time_ms"} <= joined.absent.keys()


def test_an_empty_queue_is_a_figure() -> None:
    """Requests that never waited had a queue time of 0, which is not absence."""
    after = ServerCounters(images=500, executions=150, queue_s=1.0, compute_s=6.0, requests=180)
    assert achieved(BEFORE, after).queue_time_ms == 0.0


def test_nothing_in_the_window() -> None:
    """A window without executions has no batch size, not one of 0."""
    got = achieved(BEFORE, BEFORE)
    assert [getattr(got, name) for name in THREE] == [None] * 3
    assert got.executions == 0, "which is a figure"
    assert {name: got.absent[name] for name in THREE} == {
        "batch_size_achieved": "no executions in the window",
        "queue_time_ms": "no requests in the window",
        "compute_time_ms": "no requests in the window",
    }


def test_what_is_not_reported_is_absent_alone() -> None:
    """A server that counts images but not its queue has a batch size and a reason."""
    got = achieved(ServerCounters(images=0, executions=0), ServerCounters(images=8, executions=2))
    assert got.batch_size_achieved == 4.0
    assert {name: got.absent[name] for name in THREE[1:]} == {
        "queue_time_ms": "the server does not report queue_s",
        "compute_time_ms": "the server does not report compute_s",
    }


def test_no_counters_at_all() -> None:
    """A server without counters has a reason for each figure."""
    assert nothing("it has no such page").absent == dict.fromkeys(FIGURES, "it has no such page")


def test_a_restart_voids_everything() -> None:
    """One counter that went backwards makes every difference worthless, also those that grew."""
    restarted = ServerCounters(images=3, executions=60, queue_s=9.0, compute_s=9.0, requests=90)
    reason = "the counter images went backwards, 100 to 3: a restart"
    got = achieved(BEFORE, restarted)
    assert got.absent == dict.fromkeys(FIGURES, reason)
    assert got.batch_size_achieved is None


amounts = st.none() | st.floats(0, 1e9)
numbers = [each.name for each in fields(ServerCounters) if each.name != "executions_by_batch"]
sizes = st.dictionaries(st.sampled_from(["1", "2", "8", "+Inf"]), st.integers(0, 10**6).map(float))
counters = st.builds(ServerCounters, executions_by_batch=st.none() | sizes, **dict.fromkeys(numbers, amounts))


@given(counters, counters)
def test_each_figure_has_a_value_or_a_reason(before: ServerCounters, after: ServerCounters) -> None:
    """Whatever a server reports, a figure is at least 0 or None with a reason."""
    got = achieved(before, after)
    for name in FIGURES:
        value = getattr(got, name)
        assert (value is None) == (name in got.absent)
        least = min(value.values(), default=0) if isinstance(value, dict) else value
        assert least is None or least >= 0
