"""What is read beside a load: what the server says itself, and what is missing with its reason."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.containers import ContainerFacts, Network
from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.interfaces import ServerCounters, Stack
from pytest_servebench.plan import Deployment, Device, WireRequest
from pytest_servebench.readings import readings_beside
from pytest_servebench.results import Endpoint, Progress, Telemetry
from pytest_servebench.samples import Reply
from pytest_servebench.telemetry.beside import with_joules_per_image
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from tests.echo_house import deployment, said
from tests.echo_stack import Echo

PROGRESS = Progress(
    stage="",
    elapsed_s=0.0,
    remaining_s=0.0,
    completed=0,
    errors=0,
    throughput_per_s=0.0,
    response_time_p95_ms=None,
)
STRANGER = Endpoint(stack="echo", host="127.0.0.1", ports={"http": 1}, launcher="attach")


@dataclass
class Metrics:
    """A server that gives these replies to each look at its counters, in turn."""

    replies: list[Any]

    def __call__(self, endpoint: Endpoint, request: WireRequest) -> Reply:
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Reply) else said(reply)


def driver(*replies: object) -> FakeDriver:
    """Return a driver to such a server."""
    return FakeDriver(answering=Metrics(list(replies)), clock=FakeClock())


def read(
    fake: FakeDriver, endpoint: Endpoint = STRANGER, of: Deployment | None = None, stack: Stack | None = None
) -> Telemetry:
    """Return what is read beside a load of no length."""
    clock = MonotonicClock()
    with readings_beside(endpoint, of or deployment(), stack or Echo(), fake, clock) as readings:
        begin_ns = clock.now_ns()
        clock.sleep_s(0.01)
        return readings.over((begin_ns, clock.now_ns()))


def test_server_figures_are_differences() -> None:
    """The achieved batch is that of the load, not of all that the server ever did."""
    counted = driver({"images": 100, "executions": 100}, {"images": 180, "executions": 110})
    telemetry = read(counted)
    assert telemetry.batch_size_achieved == 8
    assert telemetry.queue_time_ms is None
    assert telemetry.absent["queue_time_ms"] == "the server does not report queue_s"


def test_a_load_of_unknown_stages_is_read_as_a_whole_and_says_so() -> None:
    """No figure of the warm-up passes for one of the window."""
    telemetry = read(driver({"images": 100, "executions": 100}, {"images": 180, "executions": 110}))
    assert telemetry.counters_offset_s is None
    assert telemetry.absent["counters_offset_s"].startswith("the begin of the window was not seen: what ")


def test_counters_of_the_window_leave_the_warm_up_out() -> None:
    """What a reading at its begin has seen already is not counted."""
    counts = [{"images": n, "executions": 10, "queue_s": 0.0, "requests": n} for n in (0, 100, 180)]
    counts[2]["executions"] = 20
    clock = MonotonicClock()
    with readings_beside(STRANGER, deployment(), Echo(), driver(*counts), clock) as readings:
        begin_ns = clock.now_ns()
        for stage in ("warm-up", "measuring", "draining"):
            readings.progress(replace(PROGRESS, stage=stage))
        telemetry = readings.over((begin_ns, clock.now_ns() + 3600 * 10**9))
    assert telemetry.batch_size_achieved == 8
    assert telemetry.executions == 10
    assert telemetry.counters_offset_s is not None
    assert "counters_offset_s" not in telemetry.absent


@pytest.mark.parametrize(
    ("trouble", "seen"),
    [
        (LoadError("refused", seen="connection refused"), "connection refused"),
        (said("gone", 503), "status 503"),
        (Reply(404, {}, b"<html>"), "status 404"),
    ],
    ids=["silence", "a status", "not there"],
)
def test_counters_that_cannot_be_read_are_missing(trouble: object, seen: str) -> None:
    """A server that died or has no such page leaves the figures empty, and the run whole."""
    telemetry = read(driver({"images": 1, "executions": 1}, trouble))
    assert telemetry.batch_size_achieved is None
    reason = telemetry.absent["batch_size_achieved"]
    assert reason == f"the server's counters could not be read: {seen}"


def test_counters_that_cannot_be_understood_are_missing() -> None:
    """A stack that cannot read its own server's numbers says so by an `AnswerError`."""

    class Puzzled(Echo):
        def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
            raise AnswerError("not a number", seen=reply.body.decode())

    telemetry = read(driver({"a": 1}, {"b": 2}), stack=Puzzled())
    assert telemetry.absent["executions"] == 'not a number: {"a": 1}'


def test_a_port_that_is_not_there_is_not_asked() -> None:
    """An attached server need not give us its metrics port; how to name it is told."""

    class Elsewhere(Echo):
        def counters_request(self, deployment: Deployment) -> WireRequest | None:
            request = super().counters_request(deployment)
            assert request is not None
            return replace(request, port_role="metrics")

    class Silent(Echo):
        def counters_request(self, deployment: Deployment) -> WireRequest | None:
            return None

    unasked = driver()
    elsewhere, silent = read(unasked, stack=Elsewhere()), read(unasked, stack=Silent())
    reason = "its port for metrics is not known: add ?metrics=PORT to its address"
    assert elsewhere.absent["queue_time_ms"] == reason
    assert silent.absent["queue_time_ms"] == "nobody knows how to ask such a server for its counters"
    assert unasked.exchanged == []


def test_a_stranger_has_no_process_figures() -> None:
    """What is not ours is missing with a reason, never 0."""
    telemetry = read(driver({}, {}))
    assert telemetry.server_cpu_cores is None
    assert telemetry.server_memory_bytes is None
    assert telemetry.absent["server_memory_bytes"] == "the server is not ours: its processes are not known"
    assert telemetry.absent["gpu_utilization_percent"] == "the model runs on cpu"
    assert (telemetry.server_scope, telemetry.server_memory_kind, telemetry.gpu_scope) == (None, None, None)
    assert telemetry.other_cpu_cores is None
    assert telemetry.absent["other_cpu_cores"] == "the server is not ours: its processes are not known"


def test_every_figure_is_there_or_has_a_reason() -> None:
    """What a record lacks says why, whichever it is: for a server of ours and for a stranger's."""
    ours = replace(STRANGER, launcher="process", pid=os.getpid())
    no_figures = {
        "warnings",
        "absent",
        "server_memory_kind",
        "server_scope",
        "server_throttled_share",
        "gpu_name",
        "gpu_scope",
        "gpu_other_pids",
        "gpu_other_memory_bytes",
        "gpu_energy_source",
    }
    for endpoint in (STRANGER, ours):
        telemetry = with_joules_per_image(read(driver({}, {}), endpoint), 7)
        values = {each.name: getattr(telemetry, each.name) for each in fields(telemetry)}
        lacking = {name for name, value in values.items() if value is None} - no_figures
        assert lacking == set(telemetry.absent)
        assert all(telemetry.absent.values())
        assert values["client_cpu_s"] is not None


def test_the_samplers_end_with_the_load() -> None:
    """No thread is left, whatever the load came to."""
    ours = replace(STRANGER, launcher="process", pid=os.getpid())
    before = set(threading.enumerate())

    def broken_off() -> None:
        with readings_beside(ours, deployment(), Echo(), driver({}), MonotonicClock()):
            assert len(set(threading.enumerate()) - before) > 3
            raise LoadError("the load broke off")

    with pytest.raises(LoadError):
        broken_off()
    assert set(threading.enumerate()) <= before


def test_a_container_whose_processes_cannot_be_seen_is_still_ours() -> None:
    """Its engine may number processes otherwise than we do: the reason says that, and no more."""
    facts = ContainerFacts(id="c", image="i:1", image_id="sha256:1", network=Network.BRIDGE, user="7:7")
    telemetry = read(driver({}, {}), replace(STRANGER, launcher="docker", container=facts))
    assert telemetry.server_cpu_cores is None
    assert telemetry.absent["server_cpu_cores"] == "the processes of its container are not visible from here"


def test_our_own_server_is_read_by_its_process() -> None:
    """Memory and CPU are those of the process tree at the endpoint's pid."""
    ours = Endpoint(stack="echo", host="127.0.0.1", ports={"http": 1}, launcher="process", pid=os.getpid())
    telemetry = read(driver({}, {}), ours)
    assert telemetry.server_memory_bytes is not None
    assert telemetry.server_memory_bytes > 10_000_000
    assert (telemetry.server_scope, telemetry.server_memory_kind) == ("process_tree", "pss")
    assert telemetry.server_cpu_s is not None


def test_on_a_gpu_the_probe_says_what_is_missing() -> None:
    """Without a driver the GPU's figures are absent with the driver's own reason."""
    on_gpu = Deployment(stack="echo", model="m", format=deployment().format, device=Device("cuda", 7))
    telemetry = read(driver({}, {}), of=on_gpu)
    assert telemetry.gpu_utilization_percent is None
    assert "the model runs on" not in telemetry.absent["gpu_utilization_percent"]
