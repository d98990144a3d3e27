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
from pytest_servebench.telemetry.beside import Window, machine_beside
from pytest_servebench.telemetry.counters import EdgeReader, Span, span_of
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
        machine_beside(endpoint, deployment.device, clock) as machine,
    ):

        def telemetry(window_ns: Window) -> Telemetry:
            return counted(window_ns, machine(window_ns))

        yield Readings(progress, telemetry)


Counted = Callable[[Window, Telemetry], Telemetry]
"""Joins what a server counted in a window to what else was read."""


@contextmanager
def _counters(
    endpoint: Endpoint, deployment: Deployment, stack: Stack, driver: Driver, clock: Clock
) -> Iterator[tuple[Callable[[Progress], None], Counted]]:
    request = stack.counters_request(deployment)
    if request is None or request.port_role not in endpoint.ports:
        why = _why_uncounted(endpoint, request)
        yield lambda _: None, lambda _, telemetry: nothing(why).joined(_unread(telemetry, why))
        return
    reader = EdgeReader(lambda: asked(endpoint, request, driver), clock)
    reader.start()

    def counted(window_ns: Window, telemetry: Telemetry) -> Telemetry:
        span = span_of(reader.readings(), window_ns)
        offset_s = span.offset_s
        seen = replace(telemetry, counters_offset_s=offset_s) if offset_s else _unread(telemetry, span.reason)
        return counted_in(span, deployment, stack).joined(seen)

    try:
        yield reader.progress, counted
    finally:
        reader.stop()


def _unread(telemetry: Telemetry, why: str) -> Telemetry:
    """Return ``telemetry`` with the reason why no counters were read at the window's edges."""
    return replace(telemetry, absent={**telemetry.absent, "counters_offset_s": why})


def asked(endpoint: Endpoint, request: WireRequest, driver: Driver) -> Reply:
    """Return the reply with a server's counters; raises `LoadError`, also for one that is a refusal."""
    reply = driver.exchange(endpoint, request, COUNTERS_TIMEOUT_S)
    if reply.status != (200 if request.protocol is WireProtocol.HTTP else 0):
        raise LoadError(
            "The server refuses to tell its counters.",
            seen=f"status {reply.status}",
            next_step="see the server's log",
        )
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
