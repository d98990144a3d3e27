"""Reads request bodies without ever holding more than is allowed."""

from __future__ import annotations

import numpy as np
from starlette.requests import Request
from starlette.types import Message

from fastapi_app.refusal import Refusal

CLIENT_GONE = 499
"""The status, nginx's, under which a request is counted whose client hung up."""

_ALIGNMENT = 64


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(413, f"the body is larger than the {limit_bytes} bytes this server accepts")


def declared_length(request: Request, limit_bytes: int) -> int | None:
    """Return Content-Length, None for a chunked body; refuses one above the limit unread."""
    header = request.headers.get("content-length")
    if header is None:
        return None
    # The protocol parser has refused what is no number.
    length = int(header)
    if length > limit_bytes:
        raise _too_large(limit_bytes)
    return length


async def read_body(request: Request, limit_bytes: int, *, align_at: int = 0) -> memoryview:
    """Return the whole body, copied once; refuses with 413.

    Where its length is declared, the byte at ``align_at`` lies aligned in memory, so
    that a tensor that begins there can be used as it lies.
    """
    length = declared_length(request, limit_bytes)
    if length is None:
        return await _read_chunked(request, limit_bytes)
    start = -align_at % _ALIGNMENT
    body = np.empty(start + length, dtype=np.uint8).data[start:]
    at = 0
    while at < length:
        chunk, more = _chunk_of(await request.receive())
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
        if not more:
            break
    return body[:at]


async def _read_chunked(request: Request, limit_bytes: int) -> memoryview:
    body = bytearray()
    more = True
    while more:
        chunk, more = _chunk_of(await request.receive())
        body += chunk
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
    return memoryview(body)


def limited(request: Request, limit_bytes: int) -> Request:
    """Return the same request, whose body is refused as soon as it grows beyond the limit."""
    declared_length(request, limit_bytes)
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > limit_bytes:
            raise _too_large(limit_bytes)
        return message

    return Request(request.scope, receive)


def _chunk_of(message: Message) -> tuple[bytes, bool]:
    if message["type"] == "http.disconnect":
        raise Refusal(CLIENT_GONE, "the client hung up before its body was complete")
    return message.get("body", b""), message.get("more_body", False)
