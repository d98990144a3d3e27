"""A fake HTTP server that behaves, and misbehaves, as it is told, and logs the truth."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import TracebackType
from typing import final

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.results import Endpoint

_JOIN_S = 5.0


class Ending(Enum):
    """What becomes of the connection with a reply."""

    KEEP = "keep"
    """The reply is whole and the connection stays open."""
    CLOSE = "close"
    """The reply is whole, then the connection is closed."""
    CUT = "cut"
    """Half of the reply, then the connection is closed."""
    RESET = "reset"
    """Half of the reply (none of an empty one), then the connection is reset."""
    SILENCE = "silence"
    """No reply, and the connection stays open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedReply:
    """How one request is answered."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b"{}"
    delay_s: float = 0.0
    """How long the server computes, from the whole request to the reply."""
    chunked: bool = False
    """Whether the body comes in chunks of 7 bytes with a trailer."""
    unframed: bool = False
    """Whether neither length nor chunks tell the body's end (use with `Ending.CLOSE`)."""
    interim: tuple[int, ...] = ()
    """1xx replies sent before."""
    drip_bytes: int = 0
    """Send the reply in pieces of so many bytes, ``drip_pause_s`` apart; 0: at once."""
    drip_pause_s: float = 0.001
    raw: bytes | None = None
    """Sent instead of a reply, as it is: garbage, or a reply of your own."""
    ending: Ending = Ending.KEEP

    def wire(self) -> bytes:
        """Return the reply's bytes."""
        if self.raw is not None:
            return self.raw
        early = b"".join(b"HTTP/1.1 %d Early\r\nX-Early: yes\r\n\r\n" % status for status in self.interim)
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{name}: {value}" for name, value in self.headers)]
        body = self.body
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
            pieces = [body[i : i + 7] for i in range(0, len(body), 7)]
            body = b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            body += b"0\r\nX-Trailer: end\r\n\r\n"
        elif not self.unframed:
            lines.append(f"Content-Length: {len(body)}")
        if self.ending is Ending.CLOSE:
            lines.append("Connection: close")
        return early + "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request as the server saw it; instants are CLOCK_MONOTONIC nanoseconds."""

    number: int
    """Counted over all connections, from 0."""
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    arrived_ns: int
    """When its first bytes were there."""


Script = Callable[[SeenRequest], ScriptedReply]


@final
class ScriptedServer:
    """Answers each request as the script says; a context manager, up from entering to leaving.

    ``script`` is one reply for all, replies to be taken in turn and over again, or a
    function of the request. With ``reads_bodies`` False it replies after the head alone
    and reads the body afterwards, as a server does that answers 413. Every connection
    has a thread of its own.
    """

    def __init__(
        self,
        script: ScriptedReply | Sequence[ScriptedReply] | Script | None = None,
        *,
        reads_bodies: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self._script = _as_script(script if script is not None else ScriptedReply())
        self._reads_bodies = reads_bodies
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self.requests: list[SeenRequest] = []
        """Every request that arrived, in order."""
        self.served_ns: list[int] = []
        """For each whole reply, the span from the request's first bytes to the reply's last byte sent."""
        self.connections = 0
        """How many connections were accepted."""
        self.peers: set[str] = set()
        """Addresses that they came from."""
        self._host = host
        self._listener = socket.socket()
        self._listener.bind((host, 0))
        self._listener.listen(512)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> ScriptedServer:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.crash()

    def endpoint(self, stack: str = "scripted", role: str = "http") -> Endpoint:
        """Return where it listens."""
        return Endpoint(stack=stack, host=self._host, ports={role: self.port}, launcher="scripted")

    @property
    def gone(self) -> bool:
        """Whether it has crashed or was left."""
        return self._stopping.is_set()

    def crash(self) -> None:
        """Stop listening and reset every connection at once; may be called twice."""
        self._stopping.set()
        with self._lock:
            for connection in self._open:
                _reset(connection)
            threads = list(self._threads)
        # shutdown wakes the accepting thread, close alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_S)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True, name="scripted-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self.gone:
                    connection.close()
                    return
                self._open.add(connection)
                self.connections += 1
                self.peers.add(peer[0])
                self._start(partial(self._serve, connection, self.connections))

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            self._converse(connection, number)
        except OSError:
            pass  # the client went away, or the server crashed
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _converse(self, connection: socket.socket, number: int) -> None:
        received = bytearray()
        while data := connection.recv(1 << 16):
            arrived_ns = monotonic_ns()
            received += data
            while b"\r\n\r\n" not in received:
                data = connection.recv(1 << 16)
                if not data:
                    return
                received += data
            if not self._answer(connection, number, received, arrived_ns):
                return

    def _answer(self, connection: socket.socket, number: int, received: bytearray, arrived_ns: int) -> bool:
        """Read one request, answer it by the script; return whether the connection goes on."""
        head = _Head.taken_from(received)
        body = _read_body(connection, received, head.body_bytes) if self._reads_bodies else b""
        reply = self._script(self._see(number, head, body, arrived_ns))
        if reply.delay_s:
            self._stopping.wait(reply.delay_s)
        if reply.ending is Ending.SILENCE:
            self._stopping.wait()
            return False
        self._send(connection, reply)
        if reply.ending is Ending.RESET:
            _reset(connection)
        if reply.ending is not Ending.KEEP:
            return False
        self.served_ns.append(monotonic_ns() - arrived_ns)
        if not self._reads_bodies:
            _read_body(connection, received, head.body_bytes)
        return True

    def _see(self, connection: int, head: _Head, body: bytes, arrived_ns: int) -> SeenRequest:
        with self._lock:
            seen = SeenRequest(
                number=len(self.requests),
                connection=connection,
                method=head.method,
                path=head.path,
                headers=head.headers,
                body=body,
                arrived_ns=arrived_ns,
            )
            self.requests.append(seen)
            return seen

    def _send(self, connection: socket.socket, reply: ScriptedReply) -> None:
        wire = reply.wire()
        if reply.ending in {Ending.CUT, Ending.RESET}:
            wire = wire[: len(wire) // 2] if reply.body else b""
        for piece in _pieces(wire, reply.drip_bytes or len(wire)):
            connection.sendall(piece)
            if reply.drip_bytes:
                self._stopping.wait(reply.drip_pause_s)


def _as_script(script: ScriptedReply | Sequence[ScriptedReply] | Script) -> Script:
    if isinstance(script, ScriptedReply):
        return lambda _: script
    if callable(script):
        return script
    replies = tuple(script)
    return lambda seen: replies[seen.number % len(replies)]


@dataclass(frozen=True, slots=True)
class _Head:
    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int

    @classmethod
    def taken_from(cls, received: bytearray) -> _Head:
        """Take a request's head off the front of ``received``."""
        head, _, _ = bytes(received).partition(b"\r\n\r\n")
        del received[: len(head) + 4]
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        return cls(method, path, headers, int(headers.get("content-length", "0")))


def _read_body(connection: socket.socket, received: bytearray, length: int) -> bytes:
    while len(received) < length:
        data = connection.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the client closed inside a request's body")
        received += data
    body = bytes(received[:length])
    del received[:length]
    return body


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), max(1, size)))


def _reset(connection: socket.socket) -> None:
    """Make the peer see ECONNRESET, also when a thread is inside recv."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
