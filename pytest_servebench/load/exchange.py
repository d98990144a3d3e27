"""One HTTP request on a connection of its own, for control, health and verification."""

from __future__ import annotations

import select
import socket

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.errors import LoadError
from pytest_servebench.load.connection import BUFFER_BYTES, authority_of, error_text
from pytest_servebench.load.framing import FramingError, ReplyFramer
from pytest_servebench.load.wire import http_bytes
from pytest_servebench.plan import WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Reply


def exchange_http(endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
    """Send ``request``, return its reply whatever its status; raises `LoadError` when there is none."""
    authority = authority_of(endpoint, request.port_role)
    wire = http_bytes(request, authority)
    deadline_ns = monotonic_ns() + round(timeout_s * 1e9)
    try:
        with socket.create_connection(
            (endpoint.host, endpoint.ports[request.port_role]), timeout_s
        ) as opened:
            opened.setblocking(False)
            return _converse(opened, wire, ReplyFramer(request.method), deadline_ns)
    except TimeoutError as error:
        raise _unanswered(request, authority, f"no reply within {timeout_s:g} s") from error
    except (OSError, UnicodeError) as error:
        seen = error_text(error) if isinstance(error, OSError) else str(error)
        raise _unanswered(request, authority, seen) from error
    except FramingError as error:
        raise _unanswered(request, authority, str(error)) from error


def _unanswered(request: WireRequest, authority: str, seen: str) -> LoadError:
    return LoadError(
        "A request was not answered.",
        where=f"{request.method} {authority}{request.path}",
        seen=seen,
        next_step="see the server's log, and whether it still runs",
    )


def _converse(opened: socket.socket, wire: bytes, framer: ReplyFramer, deadline_ns: int) -> Reply:
    rest = memoryview(wire)
    poller = select.poll()
    poller.register(opened, select.POLLIN | select.POLLOUT)
    failure: OSError | None = None
    while True:
        left_ns = deadline_ns - monotonic_ns()
        if left_ns <= 0 or not (ready := poller.poll(left_ns / 1e6)):
            raise TimeoutError
        if rest and ready[0][1] & select.POLLOUT:
            rest, failure = _send_some(opened, rest)
            if not rest:
                poller.modify(opened, select.POLLIN)
        if ready[0][1] & ~select.POLLOUT and _receive_some(opened, framer, failure):
            return framer.reply()


def _send_some(opened: socket.socket, rest: memoryview) -> tuple[memoryview, OSError | None]:
    """Send on; a server that stopped reading may have replied (413), so a failure only ends the sending."""
    try:
        return rest[opened.send(rest) :], None
    except BlockingIOError:
        return rest, None
    except OSError as error:
        return memoryview(b""), error


def _receive_some(opened: socket.socket, framer: ReplyFramer, failure: OSError | None) -> bool:
    try:
        data = opened.recv(BUFFER_BYTES)
    except BlockingIOError:
        return False
    if not data and failure is not None and framer.head is None:
        raise failure
    return framer.feed(data) if data else framer.end()
