"""Rules of the wire: what goes out is one HTTP/1.1 request, whatever a stack puts into it."""

from __future__ import annotations

from dataclasses import replace

import h11
import pytest

from pytest_servebench.errors import LoadError
from pytest_servebench.load.framing import FramingError
from pytest_servebench.load.wire import http_bytes, read_reply
from pytest_servebench.plan import WireProtocol, WireRequest
from pytest_servebench.samples import Reply

POST = WireRequest(
    protocol=WireProtocol.HTTP,
    path="/v2/models/m/infer?a=1",
    headers=(("Content-Type", "application/json"), ("X-Note", "grün")),
    body=b"\x00\x01binary\r\n\r\n",
)


def test_a_request_reads_as_it_was_meant() -> None:
    """An independent parser finds the method, path, headers and body that the request was made of."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(http_bytes(POST, "127.0.0.1:8000"))
    head, data, end = peer.next_event(), peer.next_event(), peer.next_event()
    assert isinstance(head, h11.Request)
    assert isinstance(data, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert (head.method, head.target) == (b"POST", b"/v2/models/m/infer?a=1")
    assert dict(head.headers) == {
        b"host": b"127.0.0.1:8000",
        b"content-type": b"application/json",
        b"x-note": "grün".encode("latin-1"),
        b"content-length": b"12",
    }
    assert bytes(data.data) == POST.body


def test_a_get_without_body_names_no_length_and_an_empty_post_names_zero() -> None:
    """Content-Length stands where a body may be expected (RFC 9110, 8.6)."""
    get = http_bytes(replace(POST, method="GET", body=b"", headers=()), "h:1")
    post = http_bytes(replace(POST, body=b"", headers=()), "h:1")
    assert get == b"GET /v2/models/m/infer?a=1 HTTP/1.1\r\nHost: h:1\r\n\r\n"
    assert post.endswith(b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(POST, headers=(("A", "1\r\nB: 2"),)), "The value of header A of a request"),
        (replace(POST, headers=(("A", "1\nB: 2"),)), "The value of header A of a request"),
        (replace(POST, headers=(("A\r\nB", "1"),)), "The header name of a request"),
        (replace(POST, headers=(("A", "图"),)), "The value of header A of a request"),
        (replace(POST, path="/a b"), "The path of a request"),
        (replace(POST, path="/a\r\nB: 1"), "The path of a request"),
        (replace(POST, method="GET /x HTTP/1.1\r\n"), "The method of a request"),
        (replace(POST, headers=(("content-length", "3"),)), "is written by the driver"),
        (replace(POST, headers=(("Host", "x"),)), "is written by the driver"),
    ],
)
def test_nothing_can_be_smuggled_into_a_head(wrong: WireRequest, words: str) -> None:
    """A line break or a second length in a head is refused with the place and what was seen."""
    with pytest.raises(LoadError) as caught:
        http_bytes(wrong, "h:1")
    assert words in str(caught.value)
    assert caught.value.next_step


def test_a_complete_reply_is_read_with_lower_case_names() -> None:
    """Kept raw replies become `Reply` after the window."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok"
    assert read_reply(raw) == Reply(200, {"content-type": "a/b", "content-length": "2"}, b"ok")
    assert read_reply(b"HTTP/1.1 200 OK\r\n\r\nok", closed=True).body == b"ok"


def test_an_incomplete_reply_is_no_reply() -> None:
    """Half a reply is an error, not a shorter answer."""
    with pytest.raises(FramingError, match="not complete"):
        read_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
