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
from pytest_servebench.load.connection import Address, authority_of, resolve
from pytest_servebench.load.epoll_sender import Encoded, EpollSender, Wire
from pytest_servebench.load.foresight import Events
from pytest_servebench.load.timer import Timer
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome

EARLY_NS = 150_000
"""How long before an arrival the timer wakes: more than a virtual machine takes to wake a sleeper."""
BURST = 16
"""Most arrivals, or replies, in a row: neither waits long for the other in a rush."""
NEVER_NS = 1 << 62


class OpenLoop(EpollSender[Wire, Encoded]):
    """Makes an open loop of a sender, whatever it speaks, as its first base class.

    The next request goes out at each instant of a schedule, over as many connections as that
    takes. A connection carries one request at a time and is used again after its reply, the
    latest one first. An arrival that finds ``max_in_flight`` requests unanswered is dropped:
    written down with its intended instant, never sent. The schedule begins with the first `resume`.
    """

    def __init__(self, address: Address, requests: Sequence[Encoded], connections: int, book: Book) -> None:
        super().__init__(address, requests, connections, book)
        self._offsets_ns: Iterator[int] = iter(())
        self._max_in_flight = 0
        self._start_ns = 0
        self._next_ns = NEVER_NS
        """When the next arrival is due."""
        self._armed_ns = 0
        self._timer = Timer()
        self._poller.register(self._timer.fileno(), select.EPOLLIN | select.EPOLLET)

    @classmethod
    def for_load(
        cls, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, book: Book
    ) -> OpenLoop[Wire, Encoded]:
        """Return a sender of ``requests``, encoded once, at the load's arrivals; raises `LoadError`."""
        assert load.arrivals is not None
        role = requests[0].port_role
        encoded = cls.encode(requests, authority_of(endpoint, role))
        address = resolve(endpoint, role, load.timeout_s)
        chunks = schedule(load.arrivals, load.seed)
        sender = cls(address, encoded, 0, book)
        sender._offsets_ns = (offset_ns for chunk in chunks for offset_ns in chunk.tolist())
        sender._max_in_flight = load.max_in_flight
        return sender

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

    def _send_next(self) -> None:
        """Leave free connections free: it is the schedule that sends."""

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

    def _events(self, limit: int) -> Events:
        """Send what is due, and poll until the next arrival is near."""
        return self._poller.poll(self._pace(monotonic_ns()), limit)

    def _pace(self, now_ns: int) -> float:
        """Send what is due; do not wait when an arrival is near, else the timer ends the polling."""
        if self._next_ns <= now_ns:
            self._send_due(now_ns)
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
        index, request = next(self._requests)
        connection = self._connection()
        if connection is None:
            text = f"an arrival was dropped: {self._max_in_flight} requests were in flight"
            self._book.dropped(index, intended_ns, text)
            return
        connection.index, connection.intended_ns = index, intended_ns
        connection.busy = True
        connection.sent_ns = monotonic_ns()
        self._begin(connection, request)

    def _connection(self) -> Wire | None:
        """Return a connection that nobody uses, a new one if need be; None at the cap."""
        if self._free:
            return self._free.pop()
        if self.in_flight >= self._max_in_flight:
            return None
        connection = self._new_connection()
        self._connections.append(connection)
        return connection
