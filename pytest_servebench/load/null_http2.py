"""The null server's side of HTTP/2 and gRPC: as little of RFC 9113 as any client needs.

Headers are never read: every stream is answered alike when its client ends it. Ours are literals
without indexing (RFC 7541, 6.2.2), so no connection has a table. Windows are as large as they get,
so that no client waits for one; the client's own are respected.
"""

from __future__ import annotations

import socket
import struct

from pytest_servebench.load.null_channel import Channel

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_WINDOW = (1 << 31) - 1
FRAME_BYTES = 1 << 22
"""The largest frame we take: what gRPC's own servers say."""
_FIRST_WINDOW = 65535
_HEAD_BYTES = 9
_RENEWED_BYTES = 1 << 28
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 4, 5
_READ_WHOLE = frozenset({RST_STREAM, SETTINGS, PING, WINDOW_UPDATE})

_TYPE = b"application/grpc"
_REPLY_HEAD = b"\x88\x0f\x10" + bytes([len(_TYPE)]) + _TYPE
_STATUS = b"grpc-status"
_TRAILERS = b"\x00" + bytes([len(_STATUS)]) + _STATUS + b"\x010"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


_GREETING = frame(
    SETTINGS,
    0,
    0,
    struct.pack("!HIHI", _INITIAL_WINDOW_SIZE, MAX_WINDOW, _MAX_FRAME_SIZE, FRAME_BYTES),
) + frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", MAX_WINDOW - _FIRST_WINDOW))


class Http2Channel(Channel):
    """One connection; each of its streams is answered by a message of ``message_bytes`` and status 0."""

    def __init__(self, opened: socket.socket, message_bytes: int) -> None:
        super().__init__(opened)
        self._body = b"\0" + message_bytes.to_bytes(4, "big") + bytes(message_bytes)
        self._before = b""
        self._greeted = False
        self._over = (0, 0, 0)
        """Kind, flags and stream of the frame whose payload is being thrown away."""
        self._taken_bytes = 0
        self._first_window, self._frame_bytes = _FIRST_WINDOW, 16384
        """What the client's settings say."""
        self._window = _FIRST_WINDOW
        """What may be sent on the connection."""
        self._streams: dict[int, int] = {}
        """By open stream, what may be sent beyond the client's first window; mostly below 0."""
        self._owed: dict[int, int] = {}
        """By stream, the bytes of its reply that wait for a window."""
        self.send(_GREETING)

    def receive(self) -> None:
        """Read what is there; answer every stream that its client has ended."""
        if self.left:
            self.drain()
            if not self.left:
                self._passed(*self._over)
            return
        data = self._before + self.read()
        if not self._greeted:
            if len(data) < len(PREFACE):
                self._before = data
                return
            if not data.startswith(PREFACE):
                raise ConnectionError("not HTTP/2")
            self._greeted, data = True, data[len(PREFACE) :]
        self._before = data[self._take_frames(data) :]

    def _take_frames(self, data: bytes) -> int:
        """Act on every frame of ``data``; return where the first begins that is not whole."""
        at = 0
        while len(data) - at >= _HEAD_BYTES:
            length = int.from_bytes(data[at : at + 3], "big")
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & MAX_WINDOW
            begin, end = at + _HEAD_BYTES, at + _HEAD_BYTES + length
            if kind not in _READ_WHOLE:
                self._over = (kind, flags, stream)
                self._account(kind, length)
                self.left = max(0, end - len(data))
                self.drain()
                if not self.left:
                    self._passed(kind, flags, stream)
            elif end > len(data):
                break
            else:
                self._obey(kind, flags, stream, data[begin:end])
            at = end
        return at

    def _account(self, kind: int, length: int) -> None:
        """Give the connection's window back long before it is used up; a stream's is never."""
        if kind == DATA:
            self._taken_bytes += length
            if self._taken_bytes >= _RENEWED_BYTES:
                self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", self._taken_bytes)))
                self._taken_bytes = 0

    def _passed(self, kind: int, flags: int, stream: int) -> None:
        """Answer the stream if this frame, whose payload nobody reads, was its last."""
        if kind == HEADERS:
            self._streams.setdefault(stream, 0)
        if kind in {DATA, HEADERS} and flags & END_STREAM:
            self._answer(stream)

    def _obey(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            self._settle(payload)
            self.send(frame(SETTINGS, ACK, 0))
            self._pay_all()
        elif kind == WINDOW_UPDATE:
            increment = int.from_bytes(payload, "big") & MAX_WINDOW
            if stream == 0:
                self._window += increment
            elif stream in self._streams:
                self._streams[stream] += increment
            self._pay_all()
        elif kind == RST_STREAM:
            self._streams.pop(stream, None)
            self._owed.pop(stream, None)

    def _settle(self, payload: bytes) -> None:
        if len(payload) % struct.calcsize("!HI"):
            raise ConnectionError("settings of a wrong length")
        for name, value in struct.iter_unpack("!HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                self._first_window = value
            elif name == _MAX_FRAME_SIZE:
                self._frame_bytes = value

    def _answer(self, stream: int) -> None:
        whole = len(self._body)
        own = self._first_window + self._streams.get(stream, 0)
        if not self._owed and whole <= min(own, self._window, self._frame_bytes):
            self._window -= whole
            self._streams.pop(stream, None)
            self.send(
                frame(HEADERS, END_HEADERS, stream, _REPLY_HEAD)
                + frame(DATA, 0, stream, self._body)
                + frame(HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS)
            )
            return
        self.send(frame(HEADERS, END_HEADERS, stream, _REPLY_HEAD))
        self._owed[stream] = whole
        self._pay(stream)

    def _pay_all(self) -> None:
        for stream in tuple(self._owed):
            self._pay(stream)

    def _pay(self, stream: int) -> None:
        """Send of a reply what the windows allow, and its end after the last byte."""
        while left := self._owed[stream]:
            own = self._first_window + self._streams.get(stream, 0)
            count = min(left, own, self._window, self._frame_bytes)
            if count <= 0:
                return
            begin = len(self._body) - left
            self.send(frame(DATA, 0, stream, self._body[begin : begin + count]))
            self._owed[stream] -= count
            self._window -= count
            self._streams[stream] = self._streams.get(stream, 0) - count
        self._owed.pop(stream)
        self._streams.pop(stream, None)
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS))
