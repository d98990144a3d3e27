"""The ceiling: how many requests a second this client sends to a server that does nothing.

Measured through the same driver, with the same requests, as many in flight, from as many workers; the
server's replies are as long as the real one's. Above a share of it, a throughput may well be the client's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_servebench.errors import LaunchError, ServebenchError
from pytest_servebench.interfaces import Driver
from pytest_servebench.plan import Engine, Load, WireProtocol, WireRequest
from pytest_servebench.results import Ceiling, Endpoint, Progress
from pytest_servebench.samples import Reply, Samples
from pytest_servebench.statistics.summary import summarise

WARMUP_S = 0.1
WINDOW_S = 0.4
TIMEOUT_S = 5.0
OPEN_IN_FLIGHT = 16
"""Kept in flight for the ceiling of an open loop, or of a search, whose probes are such: enough that
nothing but the client holds the client back."""
END_S = 5.0

Serving = Callable[[WireProtocol, str, int], AbstractContextManager[Endpoint]]
"""Given a protocol, the role of its port and the bytes of a reply: a server that does nothing."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What decides a ceiling. Sizes are rounded to two digits: 5% of them do not change it by more."""

    protocol: WireProtocol
    request_bytes: str
    reply_bytes: str
    in_flight: int
    workers: tuple[str, ...]


class Ceilings:
    """The ceilings of one session: each is measured once, when it is first asked for."""

    def __init__(self, driver: Driver, serving: Serving | None = None) -> None:
        self._driver = driver
        self._serving = serving or null_server
        self._known: dict[_Shape, Ceiling] = {}

    def of(self, requests: Sequence[WireRequest], reply: Reply, load: Load) -> Ceiling:
        """Return the ceiling of such a load of ``requests``, which are answered like ``reply``.

        Takes half a second the first time. One that cannot be measured is None, with the reason.
        """
        why = _out_of_reach(load)
        if why:
            return Ceiling(None, why)
        protocol = requests[0].protocol
        reply_bytes = length_of(reply, protocol)
        alike = _alike(load)
        shape = _Shape(
            protocol,
            f"{sum(len(request.body) for request in requests) / len(requests):.1e}",
            f"{reply_bytes:.1e}",
            alike.concurrency,
            alike.workers,
        )
        if shape not in self._known:
            self._known[shape] = self._measure(requests, reply_bytes, alike)
        return self._known[shape]

    def _measure(self, requests: Sequence[WireRequest], reply_bytes: int, load: Load) -> Ceiling:
        first = requests[0]
        try:
            with self._serving(first.protocol, first.port_role, reply_bytes) as endpoint:
                samples = self._driver.run(endpoint, requests, load, _Nobody())
        except (ServebenchError, OSError) as error:
            return Ceiling(None, f"the null server could not be loaded: {_line(error)}")
        return _read(samples)


def length_of(reply: Reply, protocol: WireProtocol) -> int:
    """Return the bytes of a reply: over HTTP with its head, over gRPC the message's alone."""
    if protocol is WireProtocol.GRPC:
        return len(reply.body)
    fields = sum(len(name) + len(value) + len(": \r\n") for name, value in reply.headers.items())
    return len("HTTP/1.1 200 OK\r\n\r\n") + fields + len(reply.body)


@contextmanager
def null_server(protocol: WireProtocol, role: str, reply_bytes: int) -> Iterator[Endpoint]:
    """Run `load.null_server` on this machine for as long as the block runs; raises `LaunchError`."""
    package = Path(__file__).parents[1]
    argv = (
        sys.executable,
        "-S",
        "-m",
        "pytest_servebench.load.null_server",
        protocol.value,
        str(reply_bytes),
    )
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",  # where no file can stand in for a module of the standard library
        env={**os.environ, "PYTHONPATH": str(package)},
        start_new_session=True,  # Ctrl-C is for us; its end is the end of its standard input
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            if not port.isdigit():
                raise LaunchError(
                    "The null server did not start.",
                    where=" ".join(argv),
                    seen=f"exit code {process.poll()}",
                    next_step="run it by hand; it needs Linux and nothing but Python",
                )
            yield Endpoint(stack="null", host="127.0.0.1", ports={role: int(port)}, launcher="ceiling")
        finally:
            process.stdin.close()
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _out_of_reach(load: Load) -> str:
    if load.engine is not Engine.SERVEBENCH:
        return f"the load is made by {load.engine}, whose ceiling is its own"
    far = [worker for worker in load.workers if not worker.startswith("popen")]
    if far:
        return f"a worker on another machine does not reach the null server of this one: {far[0]}"
    return ""


def _alike(load: Load) -> Load:
    """Return the load to send: as many in flight, from as many workers, for a short while."""
    return replace(
        load,
        concurrency=load.concurrency if load.arrivals is None else OPEN_IN_FLIGHT,
        arrivals=None,
        warmup_s=WARMUP_S,
        duration_s=min(WINDOW_S, load.duration_s),
        timeout_s=min(TIMEOUT_S, load.timeout_s),
        steady=False,
        precision=None,
    )


def _read(samples: Samples) -> Ceiling:
    summary = summarise(samples, items_per_request=1, timeout_s=TIMEOUT_S)
    failed = summary.errors + summary.timeouts
    if failed or not summary.correct:
        why = samples.first_error or f"no reply within {summary.window_s:g} s"
        return Ceiling(None, f"the null server was not measured: {why}")
    return Ceiling(summary.throughput_per_s)


def _line(error: Exception) -> str:
    text = error.what if isinstance(error, ServebenchError) else str(error)
    seen = error.seen if isinstance(error, ServebenchError) else ""
    return f"{text} {seen}".strip()


class _Nobody:
    """Watches a load that nobody watches."""

    def progress(self, progress: Progress) -> None:
        """See nothing."""

    def server_gone(self) -> str | None:
        """Return None: a null server that is gone fails the requests, which says enough."""
        return None
