"""Where one HTTP/1.x reply ends: incremental framing of received bytes (RFC 9112, sections 2 to 7)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pytest_servebench.samples import Reply

HEAD_LIMIT_BYTES = 65536
"""A head or trailer section longer than this is not a reply of any server we know."""
BODY_LIMIT_BYTES = 1 << 30
"""A body longer than this is given up, so that an endless reply cannot fill the memory."""
SIZE_LINE_LIMIT_BYTES = 4096

_BLANK_LINE = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([0-9]{3})(?: [^\r\n]*)?\r?")
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class FramingError(Exception):
    """The bytes are not one complete HTTP/1.x reply; the text says why."""


class BodyKind(Enum):
    """How the end of a body is told."""

    ABSENT = "absent"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """Status line and header fields of one reply, and what they say of its body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in order, repeated names repeated."""
    body: BodyKind
    length_bytes: int
    """The body's length; 0 unless ``body`` is LENGTH."""
    keeps_alive: bool
    """Whether the connection may carry another request."""

    @property
    def interim(self) -> bool:
        """Whether a final reply follows (1xx)."""
        return self.status < 200  # noqa: PLR2004 (the classes of status codes)


def read_head(block: bytes, *, method: str = "POST") -> ReplyHead:
    """Read a head that ends with its blank line; raises `FramingError`.

    ``method`` is the request's: a reply to HEAD has no body.
    """
    lines = block.rstrip(b"\r\n").split(b"\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None:
        raise FramingError(f"no HTTP/1.x status line: {lines[0][:80]!r}")
    status = int(found[2])
    headers = _read_fields(lines[1:])
    if status == 101:  # noqa: PLR2004 (Switching Protocols)
        raise FramingError("the server switched protocols without being asked to")
    body, length_bytes = _body_of(status, headers, method)
    keeps_alive = body is not BodyKind.UNTIL_CLOSE and _keeps_alive(headers, minor=int(found[1]))
    return ReplyHead(status, headers, body, length_bytes, keeps_alive)


def _read_fields(lines: list[bytes]) -> tuple[tuple[str, str], ...]:
    fields: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in {b" ", b"\t"} and fields:  # a folded line, obsolete but legal to read
            name, value = fields.pop()
            fields.append((name, f"{value} {line.strip().decode('latin-1')}"))
            continue
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or _FIELD_NAME.fullmatch(raw_name) is None:
            raise FramingError(f"not a header field: {line[:80]!r}")
        fields.append((raw_name.decode("ascii").lower(), raw_value.strip(b" \t\r").decode("latin-1")))
    return tuple(fields)


def _list_of(headers: tuple[tuple[str, str], ...], name: str) -> list[str]:
    joined = ",".join(value for key, value in headers if key == name)
    return [part.strip().lower() for part in joined.split(",") if part.strip()]


def _body_of(status: int, headers: tuple[tuple[str, str], ...], method: str) -> tuple[BodyKind, int]:
    if status < 200 or status in {204, 304} or method == "HEAD":  # noqa: PLR2004 (RFC 9112, 6.3)
        return BodyKind.ABSENT, 0
    codings = _list_of(headers, "transfer-encoding")
    if codings:
        if codings != ["chunked"]:
            raise FramingError(f"transfer encoding {', '.join(codings)} is not understood")
        return BodyKind.CHUNKED, 0
    lengths = set(_list_of(headers, "content-length"))
    if not lengths:
        return BodyKind.UNTIL_CLOSE, 0
    text = lengths.pop()
    if lengths or not (text.isascii() and text.isdigit()):
        raise FramingError(f"contradictory or unreadable content-length: {text!r}")
    if int(text) > BODY_LIMIT_BYTES:
        raise FramingError(f"a body of {text} bytes is longer than {BODY_LIMIT_BYTES}")
    return BodyKind.LENGTH, int(text)


def _keeps_alive(headers: tuple[tuple[str, str], ...], *, minor: int) -> bool:
    wishes = _list_of(headers, "connection")
    return "close" not in wishes and (minor > 0 or "keep-alive" in wishes)


class ReplyFramer:
    """Takes one reply's bytes as they come, split anywhere, and says when it is complete."""

    __slots__ = ("_body_bytes", "_buffer", "_method", "_missing_bytes", "_pieces", "_step", "head")

    def __init__(self, method: str = "POST") -> None:
        self.head: ReplyHead | None = None
        self._method = method
        self._buffer = bytearray()
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._missing_bytes = 0
        self._step: Callable[[], bool] | None = self._take_head

    @property
    def complete(self) -> bool:
        """Whether the reply has ended."""
        return self._step is None

    def feed(self, data: bytes) -> bool:
        """Take received bytes; return whether the reply is complete; raises `FramingError`."""
        self._buffer += data
        while (step := self._step) is not None and step():
            pass
        if step is None and self._buffer:
            raise FramingError(f"bytes after the end of the reply: {bytes(self._buffer[:40])!r}")
        return step is None

    def end(self) -> bool:
        """Take the end of the connection; return whether a reply is complete by it; raises `FramingError`."""
        if self._step is None:
            return True
        if self.head is not None and self.head.body is BodyKind.UNTIL_CLOSE:
            self._step = None
            return True
        if self.head is None and not self._buffer:
            raise FramingError("the server closed the connection without a reply")
        place = "head" if self.head is None else f"body, after {self._body_bytes} bytes"
        raise FramingError(f"the server closed the connection inside the reply's {place}")

    def reply(self) -> Reply:
        """Return the complete reply."""
        assert self.head is not None
        return Reply(self.head.status, joined_headers(self.head), b"".join(self._pieces))

    # Each step consumes from the buffer and returns whether the next may be tried.

    def _take_head(self) -> bool:
        found = _BLANK_LINE.search(self._buffer)
        if found is None:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise FramingError(f"no end of the head within {HEAD_LIMIT_BYTES} bytes")
            # A server that does not speak HTTP is known by its first bytes, not by a time-out.
            if not b"HTTP/1.".startswith(bytes(self._buffer[:7])):
                raise FramingError(f"no HTTP/1.x status line: {bytes(self._buffer[:80])!r}")
            return False
        head = read_head(self._consume(found.end()), method=self._method)
        if head.interim:
            return True
        self.head = head
        self._missing_bytes = head.length_bytes
        self._step = {
            BodyKind.ABSENT: None,
            BodyKind.LENGTH: self._take_fixed if head.length_bytes else None,
            BodyKind.CHUNKED: self._take_size,
            BodyKind.UNTIL_CLOSE: self._take_rest,
        }[head.body]
        return True

    def _take_fixed(self) -> bool:
        self._take_body()
        if self._missing_bytes:
            return False
        self._step = None
        return True

    def _take_rest(self) -> bool:
        self._keep(self._consume(len(self._buffer)))
        return False

    def _take_size(self) -> bool:
        end = self._buffer.find(b"\n") + 1
        if not end:
            if len(self._buffer) > SIZE_LINE_LIMIT_BYTES:
                raise FramingError(f"no end of a chunk's size within {SIZE_LINE_LIMIT_BYTES} bytes")
            return False
        line = self._consume(end)
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise FramingError(f"not the size of a chunk: {line[:40]!r}")
        self._missing_bytes = int(found[1], 16)
        self._step = self._take_chunk if self._missing_bytes else self._take_trailers
        return True

    def _take_chunk(self) -> bool:
        self._take_body()
        if self._missing_bytes:
            return False
        self._step = self._take_chunk_end
        return True

    def _take_chunk_end(self) -> bool:
        if not b"\r\n".startswith(bytes(self._buffer[:2])):
            raise FramingError(f"a chunk does not end where its size says: {bytes(self._buffer[:40])!r}")
        if len(self._buffer) < len(b"\r\n"):
            return False
        self._consume(2)
        self._step = self._take_size
        return True

    def _take_trailers(self) -> bool:
        if self._buffer[:2] == b"\r\n":
            self._consume(2)
            self._step = None
            return True
        found = _BLANK_LINE.search(self._buffer)
        if found is None:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise FramingError(f"no end of the trailers within {HEAD_LIMIT_BYTES} bytes")
            return False
        _read_fields(self._consume(found.end()).rstrip(b"\r\n").split(b"\n"))
        self._step = None
        return True

    def _take_body(self) -> None:
        piece = self._consume(min(self._missing_bytes, len(self._buffer)))
        self._missing_bytes -= len(piece)
        self._keep(piece)

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._body_bytes += len(piece)
        if self._body_bytes > BODY_LIMIT_BYTES:
            raise FramingError(f"the body is longer than {BODY_LIMIT_BYTES} bytes")

    def _consume(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def joined_headers(head: ReplyHead) -> dict[str, str]:
    """Return the fields by name, repeated ones joined with a comma."""
    fields: dict[str, str] = {}
    for name, value in head.headers:
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields
