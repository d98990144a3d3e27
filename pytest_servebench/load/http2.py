"""HTTP/2 frames as bytes (RFC 9113): their names, how they are written, and when one is not sound."""

from __future__ import annotations

import struct
from typing import Final

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5

FRAME_HEAD = struct.Struct(">IBI")
"""Length (24 bits) and type (8), flags, stream: the 9 bytes before every payload."""
HEAD_BYTES: Final = 9
STREAM_AT: Final = 5
"""Where the stream's number stands in a frame."""
FRAME_BYTES: Final = 16384
"""The longest payload that everybody takes; we announce no other."""
MOST_FRAME_BYTES: Final = (1 << 24) - 1
WINDOW_BYTES: Final = 65535
"""Of a connection and of a stream, until somebody says otherwise."""
MOST_WINDOW_BYTES: Final = (1 << 31) - 1
LAST_STREAM: Final = (1 << 31) - 1
"""The last stream a client can open on one connection."""
BLOCK_LIMIT_BYTES: Final = 65536
"""A header block longer than this is not one of any server we know."""
BODY_LIMIT_BYTES: Final = 1 << 30
"""A reply longer than this is given up, so that an endless one cannot fill the memory."""
RENEW_BYTES: Final = 1 << 30
"""So much may be received before our window is opened again: half of it."""

_ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
    "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
    "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
SETTING = struct.Struct(">HI")
WORD = struct.Struct(">I")
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")


class Http2Error(Exception):
    """The call cannot be answered over this connection any more; the text says why."""


class UnprocessedError(Http2Error):
    """The server leaves, and says that it has not looked at the call: it may be sent again elsewhere."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(pairs: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(key, value) for key, value in pairs.items()))


def window_update(stream: int, more_bytes: int) -> bytes:
    """Return a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, WORD.pack(more_bytes))


# Without a header table the server's header blocks mean the same whenever they come: they can be cached.
PREFACE: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + settings({HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: MOST_WINDOW_BYTES})
    + window_update(0, MOST_WINDOW_BYTES - WINDOW_BYTES)
)
"""What a client says first, and ours says of itself: replies of any size need no further permission."""


def error_name(code: int) -> str:
    """Return the name of an error code, e.g. ``REFUSED_STREAM``."""
    return _ERRORS[code] if code < len(_ERRORS) else f"error {code}"


def refuse_others(data: bytes) -> None:
    """Raise `Http2Error` about the protocol that a server speaks instead, where its first bytes tell."""
    if data.startswith(_TLS_RECORDS):
        raise Http2Error(
            "the server requires TLS, which this load does not speak: give its port without TLS "
            "(HTTP/2 in clear text)"
        )
    if data.startswith(b"HTTP/"):
        raise Http2Error(f"the server speaks HTTP/1, not gRPC: it began with {data[:40]!r}")


def unpadded(payload: bytes) -> bytes:
    """Return a payload without its padding; raises `Http2Error`."""
    expect(len(payload) > 0 and payload[0] < len(payload), "padding", payload)
    return payload[1 : len(payload) - payload[0]]


def word(payload: bytes, name: str) -> int:
    """Return the one 32-bit number that a frame ``name`` holds; raises `Http2Error`."""
    expect(len(payload) == WORD.size, name, payload)
    return int(WORD.unpack(payload)[0])


def expect(holds: bool, name: str, payload: bytes) -> None:
    """Raise `Http2Error` about a frame ``name`` unless it holds what it must."""
    if not holds:
        raise Http2Error(f"not a sound {name} frame: {payload[:40]!r}")
