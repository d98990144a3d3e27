"""A scripted HTTP/2 server: each connection is a conversation, and what the client may not do is noted."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from pytest_servebench.load import http2
from pytest_servebench.results import Endpoint

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BIG = (1 << 31) - 1


def block(pairs: dict[str, str]) -> bytes:
    """Return a header block: literals without indexing, nothing compressed."""
    found = b""
    for name, value in pairs.items():
        found += b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return found


HEAD = block({":status": "200", "content-type": "application/grpc"})
TAIL = block({"grpc-status": "0"})


def refusal(status: int, words: str) -> bytes:
    """Return the one block of a reply without a message."""
    pairs = {":status": "200", "content-type": "application/grpc", "grpc-status": str(status)}
    return block({**pairs, "grpc-message": words})


def message(body: bytes, compressed: int = 0, length: int | None = None) -> bytes:
    """Return a gRPC message with its prefix, which may lie."""
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


def headers(stream: int, payload: bytes, flags: int = http2.END_HEADERS) -> bytes:
    """Return a HEADERS frame."""
    return http2.frame(http2.HEADERS, flags, stream, payload)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    """Return a DATA frame."""
    return http2.frame(http2.DATA, flags, stream, payload)


def trailers(stream: int, payload: bytes = TAIL) -> bytes:
    """Return the HEADERS frame that ends a stream."""
    return headers(stream, payload, http2.END_HEADERS | http2.END_STREAM)


def answer(stream: int, body: bytes = b"yes") -> bytes:
    """Return a whole good reply."""
    return headers(stream, HEAD) + data(stream, message(body)) + trailers(stream)


def goaway(last_stream: int, code: int = 0, words: bytes = b"") -> bytes:
    """Return a GOAWAY frame."""
    return http2.frame(http2.GOAWAY, 0, 0, struct.pack(">II", last_stream, code) + words)


@dataclass(frozen=True)
class SeenCall:
    """A call that the server had whole."""

    connection: int
    stream: int
    number: int
    """Of all calls, in order, from 0."""
    body: bytes


class Talk:
    """One connection as the script of the server sees it; ends by an exception when the client hangs up."""

    def __init__(self, server: Http2Server, opened: socket.socket, number: int) -> None:
        self.server = server
        self.socket = opened
        self.number = number
        self.window = self.initial = http2.WINDOW_BYTES
        self.windows: dict[int, int] = {}
        self.frame_bytes = http2.FRAME_BYTES
        self.acks: list[bytes] = []
        """What the client acknowledged: payloads of PINGs, and an empty one for SETTINGS."""
        self._shrunk = self.initial

    def greet(self, window: int = BIG, connection_window: int = BIG, frame_bytes: int = 1 << 22) -> None:
        """Read the client's preface and say what it may do."""
        assert self.read(len(HELLO)) == HELLO
        pairs = {http2.INITIAL_WINDOW_SIZE: window, http2.MAX_FRAME_SIZE: frame_bytes}
        self.initial, self.frame_bytes = max(window, self.initial), frame_bytes
        self._shrunk = window
        self.send(http2.settings(pairs))
        if connection_window > self.window:
            self.grant(0, connection_window - self.window)

    def grant(self, stream: int, more: int) -> None:
        """Let the client send more."""
        if stream:
            self.windows[stream] += more
        else:
            self.window += more
        self.send(http2.window_update(stream, more))

    def call(self, regrant: bool = False) -> SeenCall:
        """Return the next call, whole; ``regrant`` opens the windows by what each DATA frame took."""
        body = b""
        while True:
            kind, flags, stream, payload = self.frame()
            if kind == http2.DATA:
                body += payload
                if regrant and payload:
                    self.grant(0, len(payload))
                if flags & http2.END_STREAM:
                    break
                if regrant:
                    self.grant(stream, len(payload))
        return self.server.saw(self.number, stream, body)

    def frame(self) -> tuple[int, int, int, bytes]:
        """Return the next frame, having noted what it says and whether it was allowed."""
        head, flags, stream = http2.FRAME_HEAD.unpack(self.read(http2.HEAD_BYTES))
        kind, length = head & 0xFF, head >> 8
        payload = self.read(length)
        if length > self.frame_bytes:
            self.server.faults.append(f"a frame of {length} bytes")
        if kind == http2.HEADERS:
            self.windows[stream] = self.initial
        elif kind == http2.DATA:
            self.window -= length
            self.windows[stream] -= length
            if min(self.window, self.windows[stream]) < 0:
                self.server.faults.append(f"{length} bytes beyond the window")
        elif kind in {http2.PING, http2.SETTINGS} and flags & http2.ACK:
            self.acks.append(payload)
            if kind == http2.SETTINGS:  # from here on the client keeps to what it was told
                for number in self.windows:
                    self.windows[number] += self._shrunk - self.initial
                self.initial = self._shrunk
        return kind, flags, stream, payload

    def read(self, count: int) -> bytes:
        """Return so many bytes."""
        found = b""
        while len(found) < count:
            piece = self.socket.recv(min(1 << 20, count - len(found)))
            if not piece:
                raise EOFError
            found += piece
        return found

    def drain(self) -> None:
        """Read until the client hangs up."""
        while self.socket.recv(1 << 16):
            pass

    def finish(self) -> None:
        """Say nothing further."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, *pieces: bytes) -> None:
        """Send bytes as they are."""
        for piece in pieces:
            self.socket.sendall(piece)


Script = Callable[[Talk], None]


def answering(talk: Talk) -> None:
    """Answer every call with the number that it begins with."""
    talk.greet()
    while True:
        seen = talk.call()
        talk.send(answer(seen.stream, seen.body[5:].split(b":")[0]))


@final
class Http2Server:
    """Runs a script for every connection; for a ``with``."""

    def __init__(self, script: Script = answering) -> None:
        self.calls: list[SeenCall] = []
        self.faults: list[str] = []
        """What clients did that they may not, and what went wrong in scripts."""
        self.connections = 0
        self._script = script
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Http2Server:
        self._threads.append(threading.Thread(target=self._accept, daemon=True))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for opened in self._open:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        assert not self.faults, self.faults

    def endpoint(self) -> Endpoint:
        """Return where it listens."""
        return Endpoint(stack="grpc", host="127.0.0.1", ports={"grpc": self.port}, launcher="test")

    def saw(self, connection: int, stream: int, body: bytes) -> SeenCall:
        """Note a call that came whole."""
        with self._lock:
            seen = SeenCall(connection, stream, len(self.calls), body)
            self.calls.append(seen)
        return seen

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(opened)
            thread = threading.Thread(target=self._converse, args=(opened, self.connections), daemon=True)
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _converse(self, opened: socket.socket, number: int) -> None:
        with opened:
            try:
                self._script(Talk(self, opened, number))
            except (OSError, EOFError):
                return
            except Exception as error:  # noqa: BLE001 (a script's mistake is told by the test)
                self.faults.append(repr(error))
