"""Joins what is read beside a load, from the machine and from the server itself, to one Telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.interfaces import Clock, Driver, Stack
from pytest_servebench.plan import Deployment, LauncherKind, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Progress, Telemetry
from pytest_servebench.samples import Reply
from pytest_servebench.telemetry.counters import EdgeReader, Span, Window, span_of
from pytest_servebench.telemetry.gpu import GpuProbe, GpuReading, visible_devices
from pytest_servebench.telemetry.host import HostReading, ProcessTreeProbe
from pytest_servebench.telemetry.server import Achieved, achieved, nothing

COUNTERS_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Readings:
    """What is read beside a load, see `rooms.Readings`."""

    progress: Callable[[Progress], None]
    over: Callable[[Window], Telemetry]


@contextmanager
def readings_beside(
    endpoint: Endpoint,
    deployment: Deployment,
    stack: Stack,
    driver: Driver,
    clock: Clock,
) -> Iterator[Readings]:
    """Read beside the load that runs inside the context; ``over`` is called once the window is over.

    The machine's figures are those of the window. The server's own counters are read when its stages
    change, of which ``progress`` tells.
    """
    with (
        _counters(endpoint, deployment, stack, driver, clock) as (progress, counted),
        _host(endpoint, clock) as host,
        _gpu(deployment, clock) as gpu,
    ):

        def telemetry(window_ns: Window) -> Telemetry:
            machine, device = host(window_ns), gpu(window_ns)
            return counted(
                window_ns,
                Telemetry(
                    server_cpu_cores=machine.cpu_cores,
                    server_memory_bytes=machine.memory_bytes,
                    gpu_utilization_percent=device.utilization_percent,
                    gpu_memory_bytes=device.memory_bytes,
                    absent={**machine.absent, **device.absent},
                ),
            )

        yield Readings(progress, telemetry)


Counted = Callable[[Window, Telemetry], Telemetry]
"""Joins what a server counted in a window to what else was read."""


@contextmanager
def _counters(
    endpoint: Endpoint, deployment: Deployment, stack: Stack, driver: Driver, clock: Clock
) -> Iterator[tuple[Callable[[Progress], None], Counted]]:
    request = stack.counters_request(deployment)
    if request is None or request.port_role not in endpoint.ports:
        absent = nothing(_why_uncounted(endpoint, request))
        yield lambda _: None, lambda _, telemetry: absent.joined(telemetry)
        return
    reader = EdgeReader(lambda: asked(endpoint, request, driver), clock)
    reader.start()

    def counted(window_ns: Window, telemetry: Telemetry) -> Telemetry:
        span = span_of(reader.readings(), window_ns)
        known = {} if span.offset_s else {"counters_offset_s": span.reason}
        seen = replace(telemetry, counters_offset_s=span.offset_s, absent={**telemetry.absent, **known})
        return counted_in(span, deployment, stack).joined(seen)

    try:
        yield reader.progress, counted
    finally:
        reader.stop()


def asked(endpoint: Endpoint, request: WireRequest, driver: Driver) -> Reply:
    """Return the reply with a server's counters; raises `LoadError`, also for one that is a refusal."""
    reply = driver.exchange(endpoint, request, COUNTERS_TIMEOUT_S)
    if reply.status != (200 if request.protocol is WireProtocol.HTTP else 0):
        raise LoadError("The server refuses to tell its counters.", seen=f"status {reply.status}")
    return reply


def counted_in(span: Span, deployment: Deployment, stack: Stack) -> Achieved:
    """Return what a server counted between two readings."""
    counters = []
    for reading in (span.first, span.last):
        if reading.reply is None:
            return nothing(reading.absent)
        try:
            counters.append(stack.counters(deployment, reading.reply))
        except AnswerError as error:
            return nothing(f"{error.what}: {error.seen}" if error.seen else error.what)
    return achieved(*counters)


def _why_uncounted(endpoint: Endpoint, request: WireRequest | None) -> str:
    if request is None:
        return "nobody knows how to ask such a server for its counters"
    attached = endpoint.launcher == LauncherKind.ATTACH
    hint = f": add ?{request.port_role}=PORT to its address" if attached else ""
    return f"its port for {request.port_role} is not known{hint}"


@contextmanager
def _host(endpoint: Endpoint, clock: Clock) -> Iterator[Callable[[Window], HostReading]]:
    if endpoint.pid is None:
        reason = _why_unseen(endpoint)
        absent = dict.fromkeys(("server_cpu_cores", "server_memory_bytes"), reason)
        yield lambda _: HostReading(absent=absent)
        return
    probe = ProcessTreeProbe(endpoint.pid, clock)
    probe.start()
    try:
        yield lambda window_ns: probe.window(*window_ns)
    finally:
        probe.stop()


def _why_unseen(endpoint: Endpoint) -> str:
    if endpoint.container is not None:
        return "the processes of its container are not visible from here"
    return "the server is not ours: its processes are not known"


@contextmanager
def _gpu(deployment: Deployment, clock: Clock) -> Iterator[Callable[[Window], GpuReading]]:
    if deployment.device.kind != "cuda":
        reason = f"the model runs on {deployment.device}"
        absent = dict.fromkeys(("gpu_utilization_percent", "gpu_memory_bytes"), reason)
        yield lambda _: GpuReading(absent=absent)
        return
    probe = GpuProbe(deployment.device.index, clock, visible=visible_devices())
    probe.start()
    try:
        yield lambda window_ns: probe.window(*window_ns)
    finally:
        probe.stop()
