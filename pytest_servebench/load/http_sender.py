"""Moves bytes over HTTP: connections with one request in flight each, on one thread and one epoll.

Each turn first receives every reply that is there and then sends the next requests,
so that a reply's instant does not wait for the sending of others' bodies. A reply
that comes in one piece under a head seen before (nearly every one) costs one
look-up; everything else goes the slow path.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Sequence

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
from pytest_servebench.load.framing import BodyKind, FramingError, ReplyFramer
from pytest_servebench.load.kept import MASK_ROWS
from pytest_servebench.load.sample_log import OUTCOME_BITS
from pytest_servebench.load.wire import EncodedRequest, http_bytes
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint, Outcome, Reply

PAUSE_NS = 50_000_000
"""How long a connection rests after a transport error, so that errors do not spin."""
HEADS_LIMIT = 64
"""Heads remembered; a server that never repeats one just stays on the slow path."""
OK_STATUS = 200
SHOWN_BYTES = 200

_IN_OUT = select.EPOLLIN | select.EPOLLOUT
_BLANK = b"\r\n\r\n"


class HttpSender:
    """Keeps every connection busy with the next of the encoded requests, round robin."""

    def __init__(
        self, address: Address, requests: Sequence[EncodedRequest], connections: int, book: Book
    ) -> None:
        self.troubled = False
        """Whether a transport error happened since somebody last looked."""
        self._authority = address.authority
        self._requests = itertools.cycle([(i, request.wire) for i, request in enumerate(requests)])
        self._methods = [request.method for request in requests]
        self._book = book
        self._log = book.log
        self._kept = book.kept
        self._sending = True
        self._until_ns = 0
        self._poller = select.epoll()
        self._slots: dict[int, Connection] = {}
        self._connections = [Connection(address, self._poller, self._slots) for _ in range(connections)]
        self._free: list[Connection] = []
        self._paused: list[Connection] = list(self._connections)
        self._whole_bytes: dict[bytes, int] = {}
        """Length of the whole reply by its head: what the fast path knows."""

    @classmethod
    def for_load(
        cls, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, book: Book
    ) -> HttpSender:
        """Return a sender of ``requests``, encoded once; raises `LoadError`."""
        role = requests[0].port_role
        authority = authority_of(endpoint, role)
        encoded = [EncodedRequest(http_bytes(request, authority), request.method) for request in requests]
        return cls(resolve(endpoint, role, load.timeout_s), encoded, load.concurrency, book)

    def cpu_ns(self) -> int:
        """Return the CPU time of this thread, the only one that sends."""
        return thread_cpu_ns()

    def turns(self, until_ns: int) -> None:
        """Receive and send until the instant ``until_ns``, or until a transport error."""
        poll, now, whole_bytes, add = self._poller.poll, monotonic_ns, self._whole_bytes, self._log.add
        slots, free, kept, mask = self._slots, self._free, self._kept, self._kept.mask
        limit = len(self._connections)
        self._until_ns = until_ns
        while (left_ns := self._until_ns - now()) > 0:
            for descriptor, events in poll(left_ns / 1e9, limit):
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
                index, sent_ns = connection.index, connection.sent_ns
                row = add(sent_ns, sent_ns, received_ns, index << OUTCOME_BITS)
                if received_ns >= kept.due_ns or mask[row % MASK_ROWS]:
                    kept.offer(row, index, received_ns, data)
                free.append(connection)
            if free:
                self._send_next()

    def resume(self, now_ns: int) -> None:
        """Send on the connections that have rested after an error (at first: on all)."""
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
        self._poller.close()

    def _send_next(self) -> None:
        """Give every free connection the next request."""
        if not self._sending:
            for connection in self._free:
                connection.busy = connection.awaits_whole = False
            self._free.clear()
            return
        now, requests = monotonic_ns, self._requests
        for connection in self._free:
            connection.index, wire = next(requests)
            connection.busy = True
            connection.sent_ns = now()
            try:
                taken = connection.send(wire)
            except BlockingIOError:
                taken = 0
            except OSError as error:
                self._send_failed(connection, error)
                continue
            connection.awaits_whole = taken == len(wire)
            if not connection.awaits_whole:
                connection.rest = memoryview(wire)[taken:]
        self._free.clear()

    # The slow path: connecting, bodies larger than the socket's buffer, replies in pieces, errors.

    def _attend(self, connection: Connection, events: int) -> None:
        try:
            connection.push()
        except OSError as error:
            self._send_failed(connection, error)
            return
        if events & ~select.EPOLLOUT:
            self._receive(connection)

    def _send_failed(self, connection: Connection, error: OSError) -> None:
        """Look for a reply that came before the server stopped reading (413), else count the error."""
        try:
            data = connection.recv(BUFFER_BYTES)
        except OSError:
            data = b""
        if data:
            self._receive(connection, data, monotonic_ns())
        if connection.busy:
            self._fail(connection, error_text(error))
        else:
            connection.close()

    def _receive(self, connection: Connection, data: bytes | None = None, received_ns: int = 0) -> None:
        """Take what has come, beginning with ``data``, until the socket is empty or has ended."""
        try:
            while True:
                if data is None:
                    data = connection.recv(BUFFER_BYTES)
                    received_ns = monotonic_ns()
                if connection.busy:
                    self._take(connection, data, received_ns)
                else:  # the server's end of the connection, or bytes nobody asked for
                    connection.close()
                data = None
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(connection, error_text(error))
        except FramingError as error:
            self._fail(connection, str(error))

    def _take(self, connection: Connection, data: bytes, received_ns: int) -> None:
        """Take one piece of the reply, or the end of the connection; raises `FramingError`."""
        connection.awaits_whole = False
        framer = connection.framer = connection.framer or ReplyFramer(self._methods[connection.index])
        if not (framer.feed(data) if data else framer.end()):
            return
        assert framer.head is not None
        if framer.head.status == OK_STATUS:
            self._remember(framer, data)
        self._complete(connection, framer.reply(), received_ns)
        if connection.rest is not None or not framer.head.keeps_alive or not data:
            connection.close()
        connection.framer = None

    def _intended_ns(self, connection: Connection) -> int:
        """Return when its request was to begin: in a closed loop, when it did."""
        return connection.sent_ns

    def _complete(self, connection: Connection, reply: Reply, received_ns: int) -> None:
        index, sent_ns, intended_ns = connection.index, connection.sent_ns, self._intended_ns(connection)
        if reply.status == OK_STATUS:
            self._book.correct(index, sent_ns, received_ns, reply, intended_ns=intended_ns)
        else:
            shown = reply.body[:SHOWN_BYTES].decode("utf-8", "replace")
            text = f"HTTP {reply.status}: {shown} (from {self._authority})"
            self._book.failed(index, sent_ns, received_ns, Outcome.HTTP_ERROR, text, intended_ns=intended_ns)
        connection.busy = False
        self._free.append(connection)

    def _remember(self, framer: ReplyFramer, data: bytes) -> None:
        """Let the fast path know this head, when the whole reply came with it in one small piece."""
        head = framer.head
        if head is None or head.body is not BodyKind.LENGTH or not head.keeps_alive:
            return
        block = data[: data.find(_BLANK) + len(_BLANK)]
        whole_bytes = len(block) + head.length_bytes
        if len(data) == whole_bytes < BUFFER_BYTES and block.startswith(b"HTTP/1.1 200"):
            if len(self._whole_bytes) >= HEADS_LIMIT:
                self._whole_bytes.clear()
            self._whole_bytes[block] = whole_bytes

    def _fail(self, connection: Connection, text: str, outcome: Outcome = Outcome.TRANSPORT_ERROR) -> None:
        """Count the request in flight as failed now and replace the connection, after a pause if it broke."""
        was_busy, connection.busy = connection.busy, False
        connection.close()
        if not was_busy:  # it broke after its reply: nothing is lost, and it is on the free list
            return
        now_ns = monotonic_ns()
        text = f"{text} (from {self._authority})"
        intended_ns = self._intended_ns(connection)
        self._book.failed(
            connection.index, connection.sent_ns, now_ns, outcome, text, intended_ns=intended_ns
        )
        connection.resume_ns = now_ns
        self._paused.append(connection)
        if outcome is Outcome.TRANSPORT_ERROR:
            connection.resume_ns += PAUSE_NS
            self.troubled = True
            self._until_ns = 0
