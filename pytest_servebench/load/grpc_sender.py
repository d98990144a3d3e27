"""Moves bytes over gRPC: unary calls with messages serialised beforehand, one in flight on a connection.

A reply whose header blocks were seen before (nearly every one) costs one look-up; the
others are decoded. grpcio is the reference that this is checked against: `grpcio_sender`.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Sequence

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.load.book import Book
from pytest_servebench.load.connection import BUFFER_BYTES, Address, error_text
from pytest_servebench.load.epoll_sender import IN_OUT, EpollSender
from pytest_servebench.load.grpc_connection import GrpcConnection
from pytest_servebench.load.grpc_wire import (
    PREFIX,
    Call,
    RefusedError,
    ReplyReader,
    check_message,
    encode_calls,
)
from pytest_servebench.load.http2 import Http2Error, UnprocessedError
from pytest_servebench.load.kept import MASK_ROWS
from pytest_servebench.load.open_loop import BURST, OpenLoop
from pytest_servebench.load.sample_log import OUTCOME_BITS
from pytest_servebench.plan import WireRequest
from pytest_servebench.samples import Outcome, Reply

REST_BYTES = 1 << 18
"""Received at once of a reply that did not fit into the first buffer."""


class GrpcSender(EpollSender[GrpcConnection, Call]):
    """The closed loop over gRPC."""

    def __init__(self, address: Address, requests: Sequence[Call], connections: int, book: Book) -> None:
        super().__init__(address, requests, connections, book)
        self._reader = ReplyReader()

    @staticmethod
    def encode(requests: Sequence[WireRequest], authority: str) -> list[Call]:
        """Return the requests as frames; raises `LoadError`, or `MissingPieceError` without hpack."""
        return encode_calls(requests, authority)

    def turns(self, until_ns: int) -> None:
        """Receive and send until the instant ``until_ns``, or until a transport error."""
        now, slots, free, take = monotonic_ns, self._slots, self._free, self._take
        limit = max(len(self._connections), BURST)
        self._until_ns = until_ns
        while now() < self._until_ns:
            for descriptor, events in self._events(limit):
                connection = slots.get(descriptor)
                if connection is None:  # the timer, or a connection that ended a moment ago
                    continue
                if connection.unsent or (events | IN_OUT) != IN_OUT:
                    self._attend(connection, events)
                    continue
                try:
                    data = connection.recv(BUFFER_BYTES)
                except BlockingIOError:
                    continue
                except OSError as error:
                    self._fail(connection, self._words(connection, error))
                    continue
                received_ns = now()
                if 0 < len(data) < BUFFER_BYTES:  # and so the socket is empty
                    take(connection, data, received_ns)
                else:
                    self._receive(connection, data, received_ns)
            if free:
                self._send_next()

    def _new_connection(self) -> GrpcConnection:
        return GrpcConnection(self._address, self._poller, self._slots)

    def _begin(self, connection: GrpcConnection, request: Call) -> None:
        try:
            connection.begin(request)
        except OSError as error:
            self._send_failed(connection, error)

    def _take(self, connection: GrpcConnection, data: bytes, received_ns: int) -> None:
        """Take one piece of what has come, and whatever follows from it."""
        link = connection.link
        try:
            if link.receive(data):
                self._ended(connection, received_ns)
        except UnprocessedError as error:
            self._again(connection, str(error))
            return
        except Http2Error as error:
            self._fail(connection, str(error))
            return
        if link.leaving and not connection.busy:
            connection.close()
        elif connection.socket is not None and (link.answers or connection.unsent):
            self._push(connection)

    def _ended(self, connection: GrpcConnection, received_ns: int) -> None:
        """Write down a reply that is complete; raises `Http2Error` when it is not sound."""
        link, reader = connection.link, self._reader
        pieces = link.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if (link.head, link.tail) not in reader.good:
            try:
                reader.check(link)
            except RefusedError as error:
                self._refused(connection, received_ns, str(error))
                return
        if len(body) < PREFIX.size or PREFIX.unpack_from(body) != (0, len(body) - PREFIX.size):
            check_message(body)
        index, kept = connection.index, self._kept
        row = self._log.add(connection.intended_ns, connection.sent_ns, received_ns, index << OUTCOME_BITS)
        if received_ns >= kept.due_ns or kept.mask[row % MASK_ROWS]:
            kept.offer(row, index, received_ns, Reply(0, {}, body[PREFIX.size :]))
        self._release(connection)

    def _refused(self, connection: GrpcConnection, received_ns: int, text: str) -> None:
        index, sent_ns, intended_ns = connection.index, connection.sent_ns, connection.intended_ns
        text = f"{text} (from {self._authority})"
        self._book.failed(index, sent_ns, received_ns, Outcome.HTTP_ERROR, text, intended_ns=intended_ns)
        self._release(connection)

    def _release(self, connection: GrpcConnection) -> None:
        """Let the connection be used again; a call answered before it was sent leaves its rest unsent."""
        connection.busy = False
        self._free.append(connection)
        if connection.unsent:
            connection.close()

    # The slow path: connecting, messages larger than the socket's buffer or the windows, errors.

    def _attend(self, connection: GrpcConnection, events: int) -> None:
        if connection.unsent:
            self._push(connection)
        if events & ~select.EPOLLOUT and connection.socket is not None:
            self._receive(connection)

    def _push(self, connection: GrpcConnection) -> None:
        try:
            connection.push()
        except OSError as error:
            self._send_failed(connection, error)

    def _receive(self, connection: GrpcConnection, data: bytes | None = None, received_ns: int = 0) -> None:
        """Take what has come, beginning with ``data``, until the socket is empty or has ended."""
        opened = connection.socket
        try:
            while connection.socket is opened:
                if data is None:
                    data = connection.recv(REST_BYTES)
                    received_ns = monotonic_ns()
                if not data:
                    self._fail(connection, connection.link.end())
                    return
                self._take(connection, data, received_ns)
                data = None
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(connection, self._words(connection, error))
        except Http2Error as error:
            self._fail(connection, str(error))

    def _words(self, connection: GrpcConnection, error: OSError) -> str:
        """Return why a connection broke, with what the server had said until then."""
        if error.errno not in {errno.ECONNRESET, errno.EPIPE}:
            return error_text(error)
        try:
            return f"{error_text(error)}: {connection.link.end()}"
        except Http2Error as told:
            return str(told)

    def _again(self, connection: GrpcConnection, text: str) -> None:
        """Send a call that the server did not look at on a new connection, with its instants as they are.

        A server that does so with the first call of a connection would do it again: that is a failure.
        """
        if connection.link.stream == 1:
            self._fail(connection, text)
            return
        connection.close()
        self._begin(connection, self._encoded[connection.index])


class OpenGrpcSender(OpenLoop[GrpcConnection, Call], GrpcSender):
    """The open loop over gRPC."""
