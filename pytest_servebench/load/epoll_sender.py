"""What the senders over epoll share, whatever they speak: connections, free or busy, on one thread.

A connection carries one request at a time. Each turn first receives every reply that is
there and then sends the next requests, so that a reply's instant does not wait for the
sending of others' bodies.
"""

from __future__ import annotations

import itertools
import select
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from pytest_servebench.clock import monotonic_ns, thread_cpu_ns
from pytest_servebench.load.book import Book
from pytest_servebench.load.connection import (
    BUFFER_BYTES,
    Address,
    Connection,
    authority_of,
    error_text,
    resolve,
)
from pytest_servebench.load.foresight import Events, Foresight
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome

PAUSE_NS = 50_000_000
"""How long a connection rests after a transport error, so that errors do not spin."""
IN_OUT = select.EPOLLIN | select.EPOLLOUT

Wire = TypeVar("Wire", bound=Connection)
Encoded = TypeVar("Encoded")


class EpollSender(ABC, Generic[Wire, Encoded]):
    """Keeps every connection busy with the next of the encoded requests, round robin."""

    def __init__(self, address: Address, requests: Sequence[Encoded], connections: int, book: Book) -> None:
        self.troubled = False
        """Whether a transport error happened since somebody last looked."""
        self._address = address
        self._authority = address.authority
        self._encoded = requests
        self._requests: Iterator[tuple[int, Encoded]] = itertools.cycle(enumerate(requests))
        self._book = book
        self._log = book.log
        self._kept = book.kept
        self._sending = True
        self._until_ns = 0
        self._poller = select.epoll()
        self._foresight = Foresight(self._poller)
        self._slots: dict[int, Wire] = {}
        self._connections = [self._new_connection() for _ in range(connections)]
        self._free: list[Wire] = []
        self._paused: list[Wire] = list(self._connections)

    @classmethod
    def for_load(
        cls, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, book: Book
    ) -> EpollSender[Wire, Encoded]:
        """Return a sender of ``requests``, encoded once; raises `LoadError`."""
        role = requests[0].port_role
        encoded = cls.encode(requests, authority_of(endpoint, role))
        return cls(resolve(endpoint, role, load.timeout_s), encoded, load.concurrency, book)

    @staticmethod
    @abstractmethod
    def encode(requests: Sequence[WireRequest], authority: str) -> Sequence[Any]:
        """Return the requests as they go over the wire to ``authority``; raises `LoadError`."""

    @abstractmethod
    def turns(self, until_ns: int) -> None:
        """Receive and send until the instant ``until_ns``, or until a transport error."""

    @abstractmethod
    def _new_connection(self) -> Wire:
        """Return a connection that is not open yet."""

    @abstractmethod
    def _begin(self, connection: Wire, request: Encoded) -> None:
        """Send a request as far as the socket takes it; whatever goes wrong becomes its outcome."""

    @abstractmethod
    def _receive(self, connection: Wire, data: bytes | None = None, received_ns: int = 0) -> None:
        """Take what has come, beginning with ``data``, until the socket is empty or has ended."""

    def cpu_ns(self) -> int:
        """Return the CPU time of this thread, the only one that sends."""
        return thread_cpu_ns()

    def resume(self, now_ns: int) -> None:
        """Send on the connections that have rested after an error (at first: on all)."""
        self._foresight.fastest_ns = self._log.recent_fastest_ns()
        due = [connection for connection in self._paused if connection.resume_ns <= now_ns]
        if due:
            self._paused = [connection for connection in self._paused if connection.resume_ns > now_ns]
            self._free.extend(due)
            self._send_next()

    def stop(self) -> None:
        """Send no further requests; those in flight go on."""
        self._sending = False

    @property
    def in_flight(self) -> int:
        """How many requests have no outcome yet."""
        return sum(connection.busy for connection in self._connections)

    def give_up_overdue(self, sent_until_ns: int, text: str) -> int | None:
        """Count requests sent until then as time-outs; return when the oldest other was sent."""
        oldest_ns: int | None = None
        for connection in self._connections:
            if connection.busy and connection.sent_ns <= sent_until_ns:
                self._fail(connection, text, Outcome.TIMEOUT)
            elif connection.busy and (oldest_ns is None or connection.sent_ns < oldest_ns):
                oldest_ns = connection.sent_ns
        return oldest_ns

    def abandon(self, text: str, outcome: Outcome) -> None:
        """Count everything in flight as failed now."""
        for connection in self._connections:
            if connection.busy:
                self._fail(connection, text, outcome)

    def close(self) -> None:
        """Close every connection; may be called twice."""
        for connection in self._connections:
            connection.close()
        self._foresight.close()
        self._poller.close()

    def _events(self, limit: int) -> Events:
        """Do what is due by the clock, and return what there is to receive, or wait for it."""
        return self._poller.poll(0, limit) or self._wait(limit)

    def _wait(self, limit: int) -> Events:
        """Wait for replies, awake when the next one can be foreseen."""
        sent_ns = (connection.sent_ns for connection in self._connections if connection.busy)
        return self._foresight.wait(sent_ns, self._until_ns, limit)

    def _send_next(self) -> None:
        """Give every free connection the next request."""
        if not self._sending:
            for connection in self._free:
                connection.busy = False
            self._free.clear()
            return
        now, requests, begin = monotonic_ns, self._requests, self._begin
        for connection in self._free:
            connection.index, request = next(requests)
            connection.busy = True
            connection.intended_ns = connection.sent_ns = now()
            begin(connection, request)
        self._free.clear()

    def _send_failed(self, connection: Wire, error: OSError) -> None:
        """Look for a reply that came before the server stopped reading (413), else count the error."""
        try:
            data = connection.recv(BUFFER_BYTES)
        except OSError:
            data = b""
        if data:
            self._receive(connection, data, monotonic_ns())
        if connection.busy:
            self._fail(connection, self._words(connection, error))
        else:
            connection.close()

    def _words(self, connection: Wire, error: OSError) -> str:  # noqa: ARG002 (others know more of a connection)
        """Return why a connection broke."""
        return error_text(error)

    def _fail(self, connection: Wire, text: str, outcome: Outcome = Outcome.TRANSPORT_ERROR) -> None:
        """Count the request in flight as failed now and replace the connection, after a pause if it broke."""
        was_busy, connection.busy = connection.busy, False
        connection.close()
        if not was_busy:  # it broke after its reply: nothing is lost, and it is on the free list
            return
        now_ns = monotonic_ns()
        text = f"{text} (from {self._authority})"
        index, sent_ns, intended_ns = connection.index, connection.sent_ns, connection.intended_ns
        self._book.failed(index, sent_ns, now_ns, outcome, text, intended_ns=intended_ns)
        connection.resume_ns = now_ns
        self._paused.append(connection)
        if outcome is Outcome.TRANSPORT_ERROR:
            connection.resume_ns += PAUSE_NS
            self.troubled = True
            self._until_ns = 0
