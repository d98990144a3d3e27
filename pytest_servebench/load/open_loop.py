"""The open loop: requests begin when they are due, however many are unanswered.

A timer in the epoll set wakes the loop a little before each arrival; the rest of the way it
polls without waiting, which costs some CPU and buys a send within microseconds of the due
instant (epoll's own timeouts are whole milliseconds). Response times count from the due
instant, so a server that stalls cannot hide behind a client that waits for it: what Gil Tene
called coordinated omission, and wrk2 was written against.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.load.arrivals import schedule
from pytest_servebench.load.book import Book
from pytest_servebench.load.connection import (
    BUFFER_BYTES,
    Address,
    Connection,
    authority_of,
    error_text,
    resolve,
)
from pytest_servebench.load.http_sender import HttpSender
from pytest_servebench.load.kept import MASK_ROWS
from pytest_servebench.load.sample_log import OUTCOME_BITS
from pytest_servebench.load.timer import Timer
from pytest_servebench.load.wire import EncodedRequest, http_bytes
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint, Outcome

EARLY_NS = 150_000
"""How long before an arrival the timer wakes: more than a virtual machine takes to wake a sleeper."""
BURST = 16
"""Most arrivals, or replies, in a row: neither waits long for the other in a rush."""
NEVER_NS = 1 << 62

_IN_OUT = select.EPOLLIN | select.EPOLLOUT
_BLANK = b"\r\n\r\n"


class OpenLoopSender(HttpSender):
    """Sends the next request at each instant of a schedule, over as many connections as that takes.

    A connection carries one request at a time and is used again after its reply, the latest
    one first. An arrival that finds ``max_in_flight`` requests unanswered is dropped: written
    down with its intended instant, never sent. The schedule begins with the first `resume`.
    """

    def __init__(
        self,
        address: Address,
        requests: Sequence[EncodedRequest],
        offsets_ns: Iterator[int],
        max_in_flight: int,
        book: Book,
    ) -> None:
        super().__init__(address, requests, 0, book)
        self._address = address
        self._offsets_ns = offsets_ns
        self._max_in_flight = max_in_flight
        self._start_ns = 0
        self._next_ns = NEVER_NS
        """When the next arrival is due."""
        self._armed_ns = 0
        self._timer = Timer()
        self._poller.register(self._timer.fileno(), select.EPOLLIN | select.EPOLLET)

    @classmethod
    def for_load(
        cls, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, book: Book
    ) -> OpenLoopSender:
        """Return a sender of ``requests``, encoded once, at the load's arrivals; raises `LoadError`."""
        assert load.arrivals is not None
        role = requests[0].port_role
        authority = authority_of(endpoint, role)
        encoded = [EncodedRequest(http_bytes(request, authority), request.method) for request in requests]
        address = resolve(endpoint, role, load.timeout_s)
        chunks = schedule(load.arrivals, load.seed)
        offsets_ns = (offset_ns for chunk in chunks for offset_ns in chunk.tolist())
        return cls(address, encoded, offsets_ns, load.max_in_flight, book)

    def turns(self, until_ns: int) -> None:
        """Send what is due and receive, until the instant ``until_ns``, or until a transport error.

        The reply's fast path is the closed loop's, written out again: a call would cost
        every request of either loop more than the lines cost a reader.
        """
        poll, now, whole_bytes, add = self._poller.poll, monotonic_ns, self._whole_bytes, self._log.add
        slots, free, kept, mask = self._slots, self._free, self._kept, self._kept.mask
        timer = self._timer.fileno()
        self._until_ns = until_ns
        while (now_ns := now()) < self._until_ns:
            if self._next_ns <= now_ns:
                self._send_due(now_ns)
            for descriptor, events in poll(self._wait_s(now_ns), BURST):
                if descriptor == timer:
                    continue
                connection = slots[descriptor]
                if (events | _IN_OUT) != _IN_OUT or not connection.awaits_whole:
                    self._attend(connection, events)
                    continue
                try:
                    data = connection.recv(BUFFER_BYTES)
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._fail(connection, error_text(error))
                    continue
                received_ns = now()
                if whole_bytes.get(data[: data.find(_BLANK) + 4]) != len(data):
                    self._receive(connection, data, received_ns)
                    continue
                index = connection.index
                row = add(connection.intended_ns, connection.sent_ns, received_ns, index << OUTCOME_BITS)
                if received_ns >= kept.due_ns or mask[row % MASK_ROWS]:
                    kept.offer(row, index, received_ns, data)
                connection.busy = connection.awaits_whole = False
                free.append(connection)

    def resume(self, now_ns: int) -> None:
        """Begin the schedule, the first time; let connections that failed be used again at once.

        No pause after an error, as in the closed loop: arrivals pace themselves.
        """
        if not self._start_ns:
            self._start_ns = now_ns
            self._next_ns = self._due_next_ns()
        self._free.extend(self._paused)
        self._paused.clear()

    def stop(self) -> None:
        """Send what is due by now, so that no arrival of the window is lost, and nothing further."""
        now_ns = monotonic_ns()
        while self._next_ns <= now_ns:
            self._send_due(now_ns)
        self._next_ns = NEVER_NS
        super().stop()

    @property
    def in_flight(self) -> int:
        """How many requests have no outcome yet."""
        return len(self._connections) - len(self._free) - len(self._paused)

    def abandon(self, text: str, outcome: Outcome) -> None:
        """Count everything in flight as failed now; the schedule ends here."""
        self._next_ns = NEVER_NS
        super().abandon(text, outcome)

    def close(self) -> None:
        """Close every connection and the timer; may be called twice."""
        super().close()
        self._timer.close()

    def _wait_s(self, now_ns: int) -> float:
        """Return how long to poll: not at all when an arrival is near, else the timer ends it."""
        if self._next_ns - now_ns <= EARLY_NS:
            return 0.0
        if self._next_ns not in {self._armed_ns, NEVER_NS}:
            self._timer.arm(self._next_ns - EARLY_NS)
            self._armed_ns = self._next_ns
        return max(0, self._until_ns - now_ns) / 1e9

    def _send_due(self, now_ns: int) -> None:
        for _ in range(BURST):
            if self._next_ns > now_ns:
                return
            self._arrive(self._next_ns)
            self._next_ns = self._due_next_ns()

    def _due_next_ns(self) -> int:
        offset_ns = next(self._offsets_ns, None)
        return NEVER_NS if offset_ns is None else self._start_ns + offset_ns

    def _arrive(self, intended_ns: int) -> None:
        index, wire = next(self._requests)
        connection = self._connection()
        if connection is None:
            text = f"an arrival was dropped: {self._max_in_flight} requests were in flight"
            self._book.dropped(index, intended_ns, text)
            return
        connection.index, connection.intended_ns = index, intended_ns
        connection.busy = True
        connection.sent_ns = monotonic_ns()
        try:
            taken = connection.send(wire)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            self._send_failed(connection, error)
            return
        connection.awaits_whole = taken == len(wire)
        if not connection.awaits_whole:
            connection.rest = memoryview(wire)[taken:]

    def _connection(self) -> Connection | None:
        """Return a connection that nobody uses, a new one if need be; None at the cap."""
        if self._free:
            return self._free.pop()
        if self.in_flight >= self._max_in_flight:
            return None
        connection = Connection(self._address, self._poller, self._slots)
        self._connections.append(connection)
        return connection

    def _intended_ns(self, connection: Connection) -> int:
        return connection.intended_ns
