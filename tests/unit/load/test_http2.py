"""HTTP/2 as bytes: the same whatever the pieces, never beyond the windows, and in words when it is wrong."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load import http2
from pytest_servebench.load.http2 import Http2Error, UnprocessedError, frame, settings, window_update
from pytest_servebench.load.http2_link import Link, Upload
from tests.http2_server import HEAD, TAIL, answer, data, goaway, headers, message, trailers

GREETING = settings({http2.INITIAL_WINDOW_SIZE: 1 << 22, http2.MAX_FRAME_SIZE: 1 << 20})
PADDED = bytes([3]) + message(b"padded") + bytes(3)
CONTINUED = (
    headers(1, HEAD[:7], 0)
    + frame(http2.CONTINUATION, 0, 1, HEAD[7:20])
    + frame(http2.CONTINUATION, http2.END_HEADERS, 1, HEAD[20:])
)
REPLIES = (
    answer(1),
    answer(1, b"x" * 16_000),
    headers(1, HEAD) + b"".join(data(1, b"y" * 9000) for _ in range(4)) + trailers(1),
    headers(1, b"\0\x05early\0") + answer(1),
    headers(1, HEAD) + data(1, PADDED, http2.PADDED) + trailers(1),
    headers(1, bytes([2, 0, 0, 0, 0, 9]) + HEAD + bytes(2), 0x2C) + data(1, message(b"")) + trailers(1),
    CONTINUED + data(1, message(b"m")) + trailers(1),
    trailers(1),
    headers(1, HEAD) + data(1, b"z", http2.END_STREAM),
    frame(http2.PING, 0, 0, b"12345678") + frame(0xBE, 7, 0, b"grease") + answer(1) + window_update(0, 5),
    goaway(1) + answer(1),
    frame(http2.RST_STREAM, 0, 7, bytes(4)) + answer(1) + frame(http2.RST_STREAM, 0, 1, bytes(4)),
)


def opened() -> Link:
    """Return a link with an open stream."""
    link = Link()
    assert link.open_stream() == 1
    return link


def seen(link: Link) -> tuple[object, ...]:
    """Return all that a link has understood."""
    return (
        link.head, link.tail, b"".join(link.pieces), bytes(link.answers), link.window_bytes,
        link.stream_window_bytes, link.frame_bytes, link.leaving, link.goodbye,
    )  # fmt: skip


@given(st.sampled_from(REPLIES), st.lists(st.integers(0, 40_000), max_size=12))
def test_a_reply_means_the_same_wherever_it_is_split(reply: bytes, cuts: list[int]) -> None:
    """Bytes come in pieces of any size, and end the reply once, with the byte that ends it."""
    wire = GREETING + reply
    whole = opened()
    assert whole.receive(wire)
    places = sorted({0, *(cut for cut in cuts if cut < len(wire)), len(wire)})
    link = opened()
    ended = [link.receive(wire[a:b]) for a, b in pairwise(places)]
    assert seen(link) == seen(whole)
    assert ended.count(True) == 1


def test_a_reply_of_single_bytes_is_understood() -> None:
    """The worst way to split it."""
    link = opened()
    assert [link.receive(bytes([one])) for one in GREETING + answer(1)].count(True) == 1
    assert (link.head, link.tail, b"".join(link.pieces)) == (HEAD, TAIL, message(b"yes"))


@given(
    st.integers(0, 40_000),
    st.lists(
        st.one_of(
            st.tuples(st.just("connection"), st.integers(1, 30_000)),
            st.tuples(st.just("stream"), st.integers(1, 30_000)),
            st.tuples(st.just("initial"), st.integers(0, 100_000)),
            st.tuples(st.just("frame"), st.integers(http2.FRAME_BYTES, 40_000)),
        ),
        max_size=20,
    ),
    st.integers(1, 200_000),
)
def test_data_never_exceed_what_the_server_allows(
    initial: int, grants: list[tuple[str, int]], message_bytes: int
) -> None:
    """Whatever the order of permissions: no frame beyond a window, none longer than allowed, and no stall."""
    link = Link()
    link.receive(settings({http2.INITIAL_WINDOW_SIZE: initial}))
    link.open_stream()
    upload = Upload(memoryview(bytes(message_bytes)))
    windows = {"connection": http2.WINDOW_BYTES, "stream": initial}
    longest, sent, ends = http2.FRAME_BYTES, 0, 0
    for name, count in [("frame", longest), *grants]:
        if name == "initial":
            link.receive(settings({http2.INITIAL_WINDOW_SIZE: count}))
            windows["stream"] += count - initial
            initial = count
        elif name == "frame":
            link.receive(settings({http2.MAX_FRAME_SIZE: count}))
            longest = count
        else:
            link.receive(window_update(1 if name == "stream" else 0, count))
            windows[name] += count
        wire = upload.frames(link)
        for head, payload in zip(wire[::2], wire[1::2], strict=True):
            word, flags, stream = http2.FRAME_HEAD.unpack(head)
            assert (word >> 8, word & 0xFF, stream) == (len(payload), http2.DATA, 1)
            assert 0 < len(payload) <= longest
            windows = {each: left - len(payload) for each, left in windows.items()}
            assert min(windows.values()) >= 0
            sent += len(payload)
            ends += flags & http2.END_STREAM
        assert upload.done == (sent == message_bytes) == (ends == 1)
        assert upload.done or min(windows.values()) <= 0


def test_settings_and_pings_are_acknowledged_once() -> None:
    """An acknowledgement of ours is not acknowledged again."""
    link = Link()
    link.receive(GREETING + frame(http2.PING, 0, 0, b"12345678") + frame(http2.PING, 1, 0, b"87654321"))
    link.receive(frame(http2.SETTINGS, http2.ACK, 0))
    acks = frame(http2.SETTINGS, http2.ACK, 0) + frame(http2.PING, http2.ACK, 0, b"12345678")
    assert bytes(link.answers) == acks


def test_the_server_may_always_send_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was received is permitted anew before the window that we announced is used up."""
    monkeypatch.setattr("pytest_servebench.load.http2_link.RENEW_BYTES", 20_000)
    link = opened()
    link.receive(GREETING + headers(1, HEAD))
    link.answers.clear()
    for _ in range(5):
        link.receive(data(1, b"x" * 8000))
    assert bytes(link.answers) == window_update(0, 24_000)


FAULTS = [
    (data(1, b"x"), "DATA before the header block"),
    (data(3, b"x"), "DATA of stream 3, which is not open"),
    (headers(3, HEAD), "HEADERS of stream 3, which is not open"),
    (trailers(1) + data(1, b"x"), "DATA of stream 1, which is not open"),
    (headers(1, HEAD) + data(1, b"x") + headers(1, HEAD), "a header block inside the reply's body"),
    (headers(1, HEAD, 0) + data(1, b"x"), "interrupted by another frame"),
    (frame(http2.CONTINUATION, 4, 1, HEAD), "CONTINUATION of no header block"),
    (headers(1, HEAD) + data(1, b"\x09x", http2.PADDED), "not a sound padding frame"),
    (b"\x00\x40\x01\x00\x00\0\0\0\x01", "a frame of 16385 bytes is longer than the 16384 allowed"),
    (frame(http2.RST_STREAM, 0, 1, struct.pack(">I", 7)), "the server reset the call: REFUSED_STREAM"),
    (frame(http2.RST_STREAM, 0, 1, struct.pack(">I", 99)), "the server reset the call: error 99"),
    (frame(http2.RST_STREAM, 0, 1, b""), "not a sound RST_STREAM frame"),
    (goaway(0, 11, b"too_many_pings"), "GOAWAY ENHANCE_YOUR_CALM: too_many_pings"),
    (frame(http2.GOAWAY, 0, 0, b"1234"), "not a sound GOAWAY frame"),
    (frame(http2.PING, 0, 0, b"1234"), "not a sound PING frame"),
    (frame(http2.SETTINGS, 0, 0, b"1234"), "not a sound SETTINGS frame"),
    (settings({http2.MAX_FRAME_SIZE: 100}), "not a sound SETTINGS frame"),
    (settings({http2.INITIAL_WINDOW_SIZE: 1 << 31}), "not a sound SETTINGS frame"),
    (window_update(0, 0), "not a sound WINDOW_UPDATE frame"),
    (window_update(0, (1 << 31) - 1), "opened a window beyond 2147483647 bytes"),
    (window_update(1, (1 << 31) - 1), "opened a window beyond 2147483647 bytes"),
    (frame(http2.PUSH_PROMISE, 4, 1, bytes(4)), "the server pushes"),
]


@pytest.mark.parametrize(("wire", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_what_breaks_the_protocol_is_told_in_words(wire: bytes, words: str) -> None:
    """Nothing that a server must not send passes for a reply."""
    link = opened()
    with pytest.raises(Http2Error) as caught:
        link.receive(GREETING + wire)
    assert words in str(caught.value)


def test_a_call_that_a_leaving_server_did_not_look_at_is_told_apart() -> None:
    """Only a GOAWAY without an error, and a stream beyond its last one, leave the call unprocessed."""
    link = opened()
    link.receive(GREETING)
    with pytest.raises(UnprocessedError):
        link.receive(goaway(0))
    staying = opened()
    assert staying.receive(GREETING + goaway(1) + answer(1))
    assert staying.leaving


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"", "closed the connection without a word of HTTP/2; does it require TLS?"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "requires TLS"),
        (b"\x15\x03\x01\x00\x02\x02\x46 and more", "requires TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n", "the server speaks HTTP/1, not gRPC"),
        (b"220 mail.example ESMTP", "does not speak HTTP/2: it began with b'220 mail"),
        (GREETING, "closed the connection without a reply"),
        (GREETING + headers(1, HEAD), "closed the connection inside the reply"),
        (GREETING + goaway(1, 0, b"max_age"), "closed the connection: GOAWAY NO_ERROR: max_age"),
    ],
)
def test_why_there_is_no_reply_is_told_in_words(wire: bytes, words: str) -> None:
    """A server that speaks something else, or stops speaking, is recognised by what it said."""

    def told() -> str:
        link = opened()
        try:
            link.receive(wire)
            return link.end()
        except Http2Error as error:
            return str(error)

    assert words in told()
