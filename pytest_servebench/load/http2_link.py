"""One HTTP/2 connection as its client knows it: what the server allows, and its reply to one request.

Nothing here knows a socket or a clock. `Link` takes what was received, split anywhere, and says
what is to be sent; `Upload` cuts a message into the frames that the windows allow.
"""

from __future__ import annotations

import struct

from pytest_servebench.load.http2 import (
    ACK,
    BLOCK_LIMIT_BYTES,
    BODY_LIMIT_BYTES,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    FRAME_HEAD,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LAST_STREAM,
    MAX_FRAME_SIZE,
    MOST_FRAME_BYTES,
    MOST_WINDOW_BYTES,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RENEW_BYTES,
    RST_STREAM,
    SETTING,
    SETTINGS,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    Http2Error,
    UnprocessedError,
    error_name,
    expect,
    frame,
    refuse_others,
    unpadded,
    window_update,
    word,
)


class Link:
    """The state of one connection: what the server allows, and its reply to the stream that is open.

    One stream at a time. `receive` takes bytes as they come and returns True when the
    reply has ended; then ``head`` (None: the reply is its trailers), ``pieces`` and
    ``tail`` (None: it ended without trailers) are the raw header blocks and the body.
    """

    __slots__ = (
        "_block", "_block_flags", "_greeted", "_open", "_received_bytes", "_rest", "_to_renew_bytes",
        "answers", "frame_bytes", "goodbye", "head", "initial_window_bytes", "leaving", "pieces", "stream",
        "stream_window_bytes", "tail", "window_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.answers = bytearray()
        """Frames that the server has to be sent: acknowledgements and permissions."""
        self.frame_bytes = FRAME_BYTES
        """The longest payload that the server takes."""
        self.window_bytes = WINDOW_BYTES
        """How much DATA may be sent on the connection."""
        self.initial_window_bytes = WINDOW_BYTES
        self.stream_window_bytes = 0
        """How much DATA may be sent on the stream; below 0 when the server took permission back."""
        self.stream = -1
        self.leaving = False
        """Whether the server takes no further streams."""
        self.goodbye = ""
        """Why it leaves, in its words."""
        self.head: bytes | None = None
        self.tail: bytes | None = None
        self.pieces: list[bytes] = []
        self._rest = b""
        self._greeted = False
        self._open = False
        self._block: bytearray | None = None
        self._block_flags = 0
        self._received_bytes = 0
        self._to_renew_bytes = 0

    def open_stream(self) -> int:
        """Return the number of a new stream, the only one from now on."""
        self.stream += 2
        self.stream_window_bytes = self.initial_window_bytes
        self.head = self.tail = None
        self.pieces = []
        self._received_bytes = 0
        self._open = True
        return self.stream

    @property
    def room_bytes(self) -> int:
        """How much DATA may be sent now."""
        return min(self.window_bytes, self.stream_window_bytes)

    def spend(self, sent_bytes: int) -> None:
        """Count DATA as sent."""
        self.window_bytes -= sent_bytes
        self.stream_window_bytes -= sent_bytes

    def receive(self, data: bytes) -> bool:
        """Take received bytes; return whether the reply has ended with them; raises `Http2Error`."""
        if self._rest:
            data = self._rest + data
        if not self._greeted:
            self._greet(data)
        was_open = self._open
        at, have = 0, len(data)
        while have - at >= HEAD_BYTES:
            head, flags, stream = FRAME_HEAD.unpack_from(data, at)
            length = head >> 8
            if length > FRAME_BYTES:
                raise Http2Error(f"a frame of {length} bytes is longer than the {FRAME_BYTES} allowed")
            end = at + HEAD_BYTES + length
            if end > have:
                break
            self._take(head & 0xFF, flags, stream & LAST_STREAM, data[at + HEAD_BYTES : end])
            at = end
        self._rest = data[at:]
        return was_open and not self._open

    def end(self) -> str:
        """Return why there is no reply, the connection having ended."""
        if not self._greeted:
            refuse_others(self._rest)
            return "the server closed the connection without a word of HTTP/2; does it require TLS?"
        if self.goodbye:
            return f"the server closed the connection: {self.goodbye}"
        place = "inside the reply" if self.head is not None else "without a reply"
        return f"the server closed the connection {place}"

    def _greet(self, data: bytes) -> None:
        if len(data) < HEAD_BYTES:
            return
        refuse_others(data)
        if data[3] != SETTINGS or data[4] & ACK:
            raise Http2Error(f"the server does not speak HTTP/2: it began with {data[:40]!r}")
        self._greeted = True

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise Http2Error("a header block was interrupted by another frame")
        if kind == DATA:
            self._take_data(flags, stream, payload)
        elif kind == HEADERS:
            self._take_headers(flags, stream, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, word(payload, "WINDOW_UPDATE") & MOST_WINDOW_BYTES)
        elif kind == PING:
            expect(len(payload) == 8, "PING", payload)  # noqa: PLR2004 (RFC 9113, 6.7)
            if not flags & ACK:
                self.answers += frame(PING, ACK, 0, payload)
        elif kind == SETTINGS:
            self._take_settings(flags, payload)
        else:
            self._take_rare(kind, flags, stream, payload)

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self._to_renew_bytes += len(payload)
        if self._to_renew_bytes >= RENEW_BYTES:
            self.answers += window_update(0, self._to_renew_bytes)
            self._to_renew_bytes = 0
        if stream != self.stream or not self._open:
            raise Http2Error(f"DATA of stream {stream}, which is not open")
        if self.head is None:
            raise Http2Error("DATA before the header block of the reply")
        if flags & PADDED:
            payload = unpadded(payload)
        if payload:
            self.pieces.append(payload)
            self._received_bytes += len(payload)
        if self._received_bytes > BODY_LIMIT_BYTES:
            raise Http2Error(f"the reply is longer than {BODY_LIMIT_BYTES} bytes")
        if flags & END_STREAM:
            self._open = False

    def _take_headers(self, flags: int, stream: int, payload: bytes) -> None:
        if stream != self.stream or not self._open:
            raise Http2Error(f"HEADERS of stream {stream}, which is not open")
        if flags & (PADDED | PRIORITY):
            payload = unpadded(payload) if flags & PADDED else payload
            payload = payload[5:] if flags & PRIORITY else payload
        if flags & END_HEADERS:
            self._take_block(payload, flags)
        else:
            self._block, self._block_flags = bytearray(payload), flags

    def _take_block(self, block: bytes, flags: int) -> None:
        if flags & END_STREAM:
            self.tail = block
            self._open = False
        elif self.pieces:
            raise Http2Error("a header block inside the reply's body")
        else:  # an interim reply's block is replaced by the final one's
            self.head = block

    def _take_rare(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Take a frame that few replies have; one that nobody knows means nothing."""
        if kind == CONTINUATION:
            self._continue(flags, stream, payload)
        elif kind == RST_STREAM:
            code = word(payload, "RST_STREAM")
            if stream == self.stream and self._open:
                raise Http2Error(f"the server reset the call: {error_name(code)}")
        elif kind == GOAWAY:
            self._take_goaway(payload)
        elif kind == PUSH_PROMISE:
            raise Http2Error("the server pushes, though that was switched off")

    def _widen(self, stream: int, more_bytes: int) -> None:
        expect(more_bytes > 0, "WINDOW_UPDATE", bytes(4))
        if stream == 0:
            self.window_bytes += more_bytes
        elif stream == self.stream:
            self.stream_window_bytes += more_bytes
        self._check_windows()

    def _check_windows(self) -> None:
        if max(self.window_bytes, self.stream_window_bytes) > MOST_WINDOW_BYTES:
            raise Http2Error(f"the server opened a window beyond {MOST_WINDOW_BYTES} bytes")

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            return
        expect(len(payload) % SETTING.size == 0, "SETTINGS", payload)
        for key, value in SETTING.iter_unpack(payload):
            if key == INITIAL_WINDOW_SIZE:
                expect(value <= MOST_WINDOW_BYTES, "SETTINGS", payload)
                self.stream_window_bytes += value - self.initial_window_bytes
                self.initial_window_bytes = value
            elif key == MAX_FRAME_SIZE:
                expect(FRAME_BYTES <= value <= MOST_FRAME_BYTES, "SETTINGS", payload)
                self.frame_bytes = value
        self._check_windows()
        self.answers += frame(SETTINGS, ACK, 0)

    def _continue(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or stream != self.stream:
            raise Http2Error("CONTINUATION of no header block")
        self._block += payload
        if len(self._block) > BLOCK_LIMIT_BYTES:
            raise Http2Error(f"a header block is longer than {BLOCK_LIMIT_BYTES} bytes")
        if flags & END_HEADERS:
            block, self._block = bytes(self._block), None
            self._take_block(block, self._block_flags)

    def _take_goaway(self, payload: bytes) -> None:
        expect(len(payload) >= 8, "GOAWAY", payload)  # noqa: PLR2004 (RFC 9113, 6.8)
        last, code = struct.unpack_from(">II", payload)
        why = payload[8:].decode("utf-8", "replace")
        self.leaving = True
        self.goodbye = f"GOAWAY {error_name(code)}" + f": {why}" * bool(why)
        if self._open and (last & LAST_STREAM) < self.stream:
            error = Http2Error if code else UnprocessedError
            raise error(f"the server ended the connection before it took the call: {self.goodbye}")


class Upload:
    """A message on its way in pieces, where it does not fit into the windows as a whole."""

    __slots__ = ("_left",)

    MOST_FRAMES = 64
    """Frames cut at once."""

    def __init__(self, message: memoryview) -> None:
        self._left = message

    @property
    def done(self) -> bool:
        """Whether all of it has been cut into frames."""
        return not self._left

    def frames(self, link: Link) -> list[memoryview]:
        """Return the next frames that the windows allow, heads and payloads by turns, counted as sent."""
        found: list[memoryview] = []
        while self._left and len(found) < 2 * self.MOST_FRAMES and (room := link.room_bytes) > 0:
            count = min(room, link.frame_bytes, len(self._left))
            piece, self._left = self._left[:count], self._left[count:]
            link.spend(count)
            flags = 0 if self._left else END_STREAM
            found += (memoryview(FRAME_HEAD.pack(count << 8 | DATA, flags, link.stream)), piece)
        return found
