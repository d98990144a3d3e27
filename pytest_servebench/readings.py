"""Joins what is read beside a load, from the machine and from the server itself, to one Telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pytest_servebench.errors import AnswerError, LoadError
from pytest_servebench.interfaces import Clock, Driver, ServerCounters, Stack
from pytest_servebench.plan import Deployment, WireProtocol
from pytest_servebench.results import Endpoint, Telemetry
from pytest_servebench.telemetry.beside import Window, machine_beside
from pytest_servebench.telemetry.server import achieved

COUNTERS_TIMEOUT_S = 10.0


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
    with machine_beside(endpoint, deployment.device, clock) as machine:

        def telemetry(window_ns: Window) -> Telemetry:
            seen = machine(window_ns)
            own = achieved(before, server_counters(endpoint, deployment, stack, driver))
            return replace(
                seen,
                batch_size_achieved=own.batch_size_achieved,
                queue_time_ms=own.queue_time_ms,
                compute_time_ms=own.compute_time_ms,
                absent={**seen.absent, **own.absent},
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
