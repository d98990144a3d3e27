"""Joins what is read beside a load, from the machine and from the server itself, to one Telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.interfaces import Clock, Driver, ServerCounters, Stack
from pytest_servebench.plan import Deployment, WireProtocol
from pytest_servebench.results import Endpoint, Telemetry
from pytest_servebench.telemetry.gpu import GpuProbe, GpuReading
from pytest_servebench.telemetry.host import HostReading, ProcessTreeProbe
from pytest_servebench.telemetry.server import achieved

COUNTERS_TIMEOUT_S = 10.0

Window = tuple[int, int]


@contextmanager
def readings_beside(
    endpoint: Endpoint,
    deployment: Deployment,
    stack: Stack,
    driver: Driver,
    clock: Clock,
) -> Iterator[Callable[[Window], Telemetry]]:
    """Read beside the load that runs inside the context; call what it gives once the window is over.

    The machine's figures are those of the window. The server's own counters can only be read
    from outside the load, so theirs are means over warm-up and window together.
    """
    before = server_counters(endpoint, deployment, stack, driver)
    with _host(endpoint, clock) as host, _gpu(deployment, clock) as gpu:

        def telemetry(window_ns: Window) -> Telemetry:
            machine, device = host(window_ns), gpu(window_ns)
            own = achieved(before, server_counters(endpoint, deployment, stack, driver))
            return Telemetry(
                server_cpu_cores=machine.cpu_cores,
                server_memory_bytes=machine.memory_bytes,
                gpu_utilization_percent=device.utilization_percent,
                gpu_memory_bytes=device.memory_bytes,
                batch_size_achieved=own.batch_size_achieved,
                queue_time_ms=own.queue_time_ms,
                compute_time_ms=own.compute_time_ms,
                absent={**machine.absent, **device.absent, **own.absent},
            )

        yield telemetry


def server_counters(
    endpoint: Endpoint,
    deployment: Deployment,
    stack: Stack,
    driver: Driver,
) -> ServerCounters | None:
    """Return the server's own counters now; None when it has none or does not give them."""
    request = stack.counters_request(deployment)
    if request is None or request.port_role not in endpoint.ports:
        return None
    try:
        reply = driver.exchange(endpoint, request, COUNTERS_TIMEOUT_S)
        succeeded = reply.status == (200 if request.protocol is WireProtocol.HTTP else 0)
        return stack.counters(deployment, reply) if succeeded else None
    except (LoadError, AnswerError):
        return None


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
    probe = GpuProbe(deployment.device.index, clock)
    probe.start()
    try:
        yield lambda window_ns: probe.window(*window_ns)
    finally:
        probe.stop()
