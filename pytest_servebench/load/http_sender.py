"""Moves bytes over HTTP: connections with one request in flight each.

A reply that comes in one piece under a head seen before (nearly every one) costs one
look-up; everything else goes the slow path.
"""

from __future__ import annotations

import itertools
import select
from collections.abc import Sequence

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.load.book import Book
from pytest_servebench.load.connection import BUFFER_BYTES, Address, error_text
from pytest_servebench.load.epoll_sender import IN_OUT, EpollSender
from pytest_servebench.load.framing import BodyKind, FramingError, ReplyFramer
from pytest_servebench.load.http_connection import HttpConnection
from pytest_servebench.load.kept import MASK_ROWS
from pytest_servebench.load.open_loop import BURST, OpenLoop
from pytest_servebench.load.sample_log import OUTCOME_BITS
from pytest_servebench.load.wire import EncodedRequest, http_bytes
from pytest_servebench.plan import WireRequest
from pytest_servebench.samples import Outcome, Reply

HEADS_LIMIT = 64
"""Heads remembered; a server that never repeats one just stays on the slow path."""
OK_STATUS = 200
SHOWN_BYTES = 200

_BLANK = b"\r\n\r\n"


class HttpSender(EpollSender[HttpConnection, EncodedRequest]):
    """The closed loop over HTTP."""

    def __init__(
        self, address: Address, requests: Sequence[EncodedRequest], connections: int, book: Book
    ) -> None:
        super().__init__(address, requests, connections, book)
        self._wires = itertools.cycle([(i, request.wire) for i, request in enumerate(requests)])
        self._whole_bytes: dict[bytes, int] = {}
        """Length of the whole reply by its head: what the fast path knows."""

    @staticmethod
    def encode(requests: Sequence[WireRequest], authority: str) -> list[EncodedRequest]:
        """Return the requests as HTTP/1.1 bytes; raises `LoadError`."""
        return [EncodedRequest(http_bytes(request, authority), request.method) for request in requests]

    def turns(self, until_ns: int) -> None:
        """Receive and send until the instant ``until_ns``, or until a transport error."""
        poll, now, whole_bytes, add = self._poller.poll, monotonic_ns, self._whole_bytes, self._log.add
        slots, free, kept, mask = self._slots, self._free, self._kept, self._kept.mask
        limit = len(self._connections)
        self._until_ns = until_ns
        while self._until_ns > now():
            for descriptor, events in poll(0, limit) or self._wait(limit):
                connection = slots[descriptor]
                if (events | IN_OUT) != IN_OUT or not connection.awaits_whole:
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

    def _new_connection(self) -> HttpConnection:
        return HttpConnection(self._address, self._poller, self._slots)

    def _send_next(self) -> None:
        """Give every free connection the next request: `_begin`, written out for the sake of its cost."""
        if not self._sending:
            for connection in self._free:
                connection.busy = connection.awaits_whole = False
            self._free.clear()
            return
        now, wires = monotonic_ns, self._wires
        for connection in self._free:
            connection.index, wire = next(wires)
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

    def _begin(self, connection: HttpConnection, request: EncodedRequest) -> None:
        wire = request.wire
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

    # The slow path: connecting, bodies larger than the socket's buffer, replies in pieces, errors.

    def _attend(self, connection: HttpConnection, events: int) -> None:
        try:
            connection.push()
        except OSError as error:
            self._send_failed(connection, error)
            return
        if events & ~select.EPOLLOUT:
            self._receive(connection)

    def _receive(self, connection: HttpConnection, data: bytes | None = None, received_ns: int = 0) -> None:
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

    def _take(self, connection: HttpConnection, data: bytes, received_ns: int) -> None:
        """Take one piece of the reply, or the end of the connection; raises `FramingError`."""
        connection.awaits_whole = False
        framer = connection.framer = connection.framer or ReplyFramer(self._encoded[connection.index].method)
        if not (framer.feed(data) if data else framer.end()):
            return
        assert framer.head is not None
        if framer.head.status == OK_STATUS:
            self._remember(framer, data)
        self._complete(connection, framer.reply(), received_ns)
        if connection.rest is not None or not framer.head.keeps_alive or not data:
            connection.close()
        connection.framer = None

    def _complete(self, connection: HttpConnection, reply: Reply, received_ns: int) -> None:
        index, sent_ns, intended_ns = connection.index, connection.sent_ns, connection.intended_ns
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


class OpenHttpSender(OpenLoop[HttpConnection, EncodedRequest], HttpSender):
    """The open loop over HTTP."""

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
            for descriptor, events in poll(self._pace(now_ns), BURST):
                if descriptor == timer:
                    continue
                connection = slots[descriptor]
                if (events | IN_OUT) != IN_OUT or not connection.awaits_whole:
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
