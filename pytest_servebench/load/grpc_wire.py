"""Unary gRPC over HTTP/2: calls as frames, once, before the clock starts; and replies read back.

See the gRPC project's PROTOCOL-HTTP2.md. Header blocks go both ways without a header table
(RFC 7541), so that the same bytes always mean the same: ours are written once, and the
server's are decoded once and then known by their bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from pytest_servebench.errors import LoadError, MissingPieceError
from pytest_servebench.load.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    FRAME_HEAD,
    HEAD_BYTES,
    HEADERS,
    MOST_FRAME_BYTES,
    STREAM_AT,
    WORD,
    Http2Error,
    frame,
)
from pytest_servebench.load.http2_link import Link
from pytest_servebench.plan import WireRequest

PREFIX = struct.Struct(">BI")
"""Before every message: whether it is compressed, and its length."""
BLOCKS_LIMIT = 64
"""Blocks remembered; a server that never repeats one just stays on the slow path."""
OK_STATUS = "0"
SHOWN_CHARACTERS = 200
STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
    "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip

_PATH = re.compile(r"/[\x21-\x7e]+")
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = re.compile(r"te|content-type|content-length|user-agent|host|connection|transfer-encoding|grpc-.*")


class Frames:
    """A call's frames in one piece; the stream's number is written into them before each sending."""

    __slots__ = ("_places", "wire")

    def __init__(self, headers: bytes, message: Sequence[bytes | memoryview], frame_bytes: int) -> None:
        whole = b"".join(message)
        self.wire = bytearray(headers)
        places = [STREAM_AT]
        for at in range(0, len(whole), frame_bytes):
            piece = memoryview(whole)[at : at + frame_bytes]
            flags = END_STREAM if at + len(piece) == len(whole) else 0
            places.append(len(self.wire) + STREAM_AT)
            self.wire += FRAME_HEAD.pack(len(piece) << 8 | DATA, flags, 0)
            self.wire += piece
        self._places = tuple(places)

    def address(self, stream: int) -> None:
        """Write the stream's number into every frame."""
        for place in self._places:
            WORD.pack_into(self.wire, place, stream)


class Call:
    """One request as it goes over the wire, whatever frames the server takes."""

    __slots__ = ("_framed", "_single", "headers", "message", "message_bytes")

    def __init__(self, headers: bytes, body: bytes) -> None:
        self.headers = headers
        """The HEADERS frame, for stream 0."""
        message = (PREFIX.pack(0, len(body)), body)
        self.message_bytes = PREFIX.size + len(body)
        self._framed: Frames | None = None
        self._single: Frames | None = None
        if self.message_bytes <= MOST_FRAME_BYTES:
            self._single = Frames(headers, message, MOST_FRAME_BYTES)
            self.message = memoryview(self._single.wire)[len(headers) + HEAD_BYTES :]
            """The message with its prefix."""
        else:
            self.message = memoryview(b"".join(message))

    def frames(self, frame_bytes: int) -> Frames:
        """Return the call in one DATA frame if the server takes it so, else in such as everybody takes."""
        if self._single is not None and self.message_bytes <= frame_bytes:
            return self._single
        if self._framed is None:
            self._framed = Frames(self.headers, (self.message,), FRAME_BYTES)
        return self._framed


def encode_calls(requests: Sequence[WireRequest], authority: str) -> list[Call]:
    """Return the calls; raises `LoadError` for one that cannot be sent, `MissingPieceError` without hpack."""
    encoder = hpack().Encoder()
    calls = []
    for request in requests:
        fields = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", request.path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "pytest-servebench"),
            ("grpc-accept-encoding", "identity"),
            *_metadata(request),
        )
        # "Never indexed" keeps the encoder from building a table that the next connection would not have.
        block = encoder.encode([(name, value, True) for name, value in fields], huffman=False)
        if len(block) > FRAME_BYTES:
            raise _unsendable("metadata are longer than one frame", request, f"{len(block)} bytes")
        calls.append(Call(frame(HEADERS, END_HEADERS, 0, block), request.body))
    return calls


def _metadata(request: WireRequest) -> list[tuple[str, str]]:
    if _PATH.fullmatch(request.path) is None:
        raise _unsendable("path is not one", request, repr(request.path[:120]))
    pairs = [(name.lower(), value) for name, value in request.headers]
    for name, value in pairs:
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise _unsendable("metadata are not printable", request, repr((name, value))[:120])
        if _OURS.fullmatch(name) is not None:
            raise _unsendable(f"{name} is written by the driver", request, f"{name}: {value}")
    return pairs


def _unsendable(what: str, request: WireRequest, seen: str) -> LoadError:
    return LoadError(
        f"A request cannot be sent over gRPC: its {what}.",
        where=request.path[:120],
        seen=seen,
        next_step="correct the stack's encode",
    )


def hpack() -> Any:  # noqa: ANN401 (its types are not needed here)
    """Return the package hpack; raises `MissingPieceError`."""
    try:
        import hpack
    except ImportError as error:
        raise MissingPieceError(
            "A load over gRPC needs the package hpack.",
            seen=str(error),
            next_step='pip install "pytest-servebench[triton]"',
        ) from error
    return hpack


class RefusedError(Exception):
    """The server answered the call with another status than success; the text says which."""


class ReplyReader:
    """Tells whether a call succeeded; the blocks of those that did are known by their bytes."""

    def __init__(self) -> None:
        self._hpack = hpack()
        self.good: set[tuple[bytes | None, bytes | None]] = set()
        """Header and trailer blocks of calls that succeeded."""

    def check(self, link: Link) -> None:
        """Read the blocks of a reply that has ended; raises `RefusedError`, `Http2Error`."""
        tail = {} if link.tail is None else self._fields(link.tail)
        head = tail if link.head is None else self._fields(link.head)
        status = tail.get("grpc-status", head.get("grpc-status"))
        if status is None:
            raise _without_status(head)
        if status != OK_STATUS:
            known = status.isdigit() and int(status) < len(STATUSES)
            name = STATUSES[int(status)] if known else "not a status of gRPC"
            words = unquote(tail.get("grpc-message", ""))[:SHOWN_CHARACTERS]
            raise RefusedError(f"gRPC {status} {name}: {words}")
        coding = head.get("grpc-encoding", "identity")
        if coding != "identity":
            raise Http2Error(f"the reply is compressed ({coding}), although only identity is accepted")
        if len(self.good) >= BLOCKS_LIMIT:
            self.good.clear()
        self.good.add((link.head, link.tail))

    def _fields(self, block: bytes) -> dict[str, str]:
        decoder = self._hpack.Decoder()
        decoder.max_allowed_table_size = 0  # what we announce
        decoder.header_table_size = 0
        try:
            return dict(decoder.decode(block))
        except self._hpack.HPACKError as error:
            raise Http2Error(
                f"the header block of a reply cannot be read: {error or block[:40]!r}"
            ) from error


def _without_status(head: dict[str, str]) -> Exception:
    status, kind = head.get(":status", ""), head.get("content-type", "")
    if status != "200" or not kind.startswith("application/grpc"):
        return RefusedError(f"HTTP {status} with {kind or 'no content type'}, which is not gRPC")
    return Http2Error("the reply ended without a grpc-status")


def check_message(body: bytes) -> None:
    """Check that a reply's body is one whole message that is not compressed; raises `Http2Error`."""
    if len(body) < PREFIX.size:
        raise Http2Error(f"the reply has {len(body)} bytes where a message begins with {PREFIX.size}")
    compressed, length = PREFIX.unpack_from(body)
    if compressed:
        raise Http2Error("the reply's message is compressed, although only identity is accepted")
    if length != len(body) - PREFIX.size:
        raise Http2Error(
            f"the reply's message has {len(body) - PREFIX.size} bytes, not the {length} that its prefix says"
        )
