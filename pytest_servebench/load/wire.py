"""Requests as bytes, once, before the clock starts; and complete replies read back from bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_servebench.errors import LoadError
from pytest_servebench.load.framing import FramingError, ReplyFramer
from pytest_servebench.plan import WireRequest
from pytest_servebench.samples import Reply

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A request as it goes over the wire."""

    wire: bytes
    method: str
    """The reply's framing depends on it: HEAD has no body."""


def http_bytes(request: WireRequest, authority: str) -> bytes:
    """Return the request as HTTP/1.1 bytes for a kept-alive connection to ``authority`` (host:port).

    Host and Content-Length are added; a method, path or header that could not be
    sent as one raises `LoadError`.
    """
    _require(_TOKEN, request.method, "method", request)
    _require(_TARGET, request.path, "path", request)
    lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {authority}"]
    for name, value in request.headers:
        _require(_TOKEN, name, "header name", request)
        _require(_FIELD_VALUE, value, f"value of header {name}", request)
        if name.lower() in _OURS:
            raise LoadError(
                f"Header {name} is written by the driver and must not be in the request.",
                where=f"{request.method} {request.path}",
                seen=f"{name}: {value}",
                next_step="leave it out of WireRequest.headers",
            )
        lines.append(f"{name}: {value}")
    if request.body or request.method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + request.body


def _require(pattern: re.Pattern[str], text: str, what: str, request: WireRequest) -> None:
    if pattern.fullmatch(text) is None:
        raise LoadError(
            f"The {what} of a request cannot be sent over HTTP/1.1.",
            where=f"{request.method} {request.path}"[:120],
            seen=repr(text[:120]),
            next_step="correct the stack's encode: printable characters only, no line breaks",
        )


def read_reply(raw: bytes, *, method: str = "POST", closed: bool = False) -> Reply:
    """Read one complete reply; ``closed`` says that the server closed after it; raises `FramingError`."""
    framer = ReplyFramer(method)
    if not framer.feed(raw) and not (closed and framer.end()):
        raise FramingError("the reply is not complete")
    return framer.reply()
