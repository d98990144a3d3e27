"""Rules of reply framing: wherever the bytes are split, a reply ends where HTTP says it ends."""

from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load import framing
from pytest_servebench.load.framing import BodyKind, FramingError, ReplyFramer, read_head
from pytest_servebench.samples import Reply

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello"

names = st.sampled_from(["Server", "X-Request-Id", "content-type", "Date", "Set-Cookie"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=0, max_size=20)
statuses = st.sampled_from([200, 201, 204, 304, 400, 404, 413, 500, 503])
bodies = st.binary(max_size=300)


def chunked(body: bytes, cuts: list[int], *, extension: bytes, trailers: bytes) -> bytes:
    """Return ``body`` in chunks cut at ``cuts``."""
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[a:b] for a, b in pairwise(edges)]
    return (
        b"".join(b"%X%s\r\n%s\r\n" % (len(p), extension, p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"
    )


@st.composite
def replies(draw: st.DrawFn) -> tuple[bytes, bool]:
    """Return a reply's bytes and whether its end is told by closing the connection."""
    status = draw(statuses)
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    head = [f"HTTP/{version} {status}{draw(st.sampled_from([' OK', ' Not so good', ' ']))}"]
    head += [
        f"{name}:{draw(st.sampled_from([' ', '', '  ']))}{draw(values)}" for name in draw(st.lists(names))
    ]
    connection = draw(st.sampled_from([None, "close", "keep-alive", "Keep-Alive"]))
    if connection:
        head.append(f"Connection: {connection}")
    body = b"" if status in {204, 304} else draw(bodies)
    kind = draw(st.sampled_from(["length", "chunked", "close"])) if status not in {204, 304} else "none"
    if kind == "length":
        head.append(f"{draw(st.sampled_from(['Content-Length', 'content-length']))}: {len(body)}")
    if kind == "chunked":
        head.append(f"Transfer-Encoding: {draw(st.sampled_from(['chunked', 'Chunked']))}")
        extension = draw(st.sampled_from([b"", b";a", b";a=1;b=2", b" "]))
        trailers = draw(st.sampled_from([b"", b"X-End: 1\r\n", b"X-End: 1\r\nX-More: 2\r\n"]))
        body = chunked(body, draw(st.lists(st.integers(0, 300))), extension=extension, trailers=trailers)
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"])
    )
    return interim + "\r\n".join([*head, "", ""]).encode() + body, kind == "close"


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return ``data`` split at ``cuts``."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(edges)]


def h11_reply(pieces: list[bytes], *, closed: bool) -> tuple[Reply, bool]:
    """Return what h11 reads from the pieces, and whether it would use the connection again."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    peer.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = b""
    for piece in [*pieces, *([b""] if closed else [])]:
        peer.receive_data(piece)
        while (event := peer.next_event()) is not h11.NEED_DATA:
            if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
            if isinstance(event, h11.Response):
                head = event
            if isinstance(event, h11.Data):
                body += bytes(event.data)
    assert head is not None
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode(), raw_value.decode()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Reply(head.status_code, headers, body), peer.their_state is not h11.MUST_CLOSE and not closed


def framed(pieces: list[bytes], *, closed: bool = False) -> ReplyFramer:
    """Return the framer that was fed the pieces; the reply completes with the last, not before."""
    framer = ReplyFramer("GET")
    for piece in pieces[:-1]:
        assert framer.feed(piece) is False
    assert framer.feed(pieces[-1]) is not closed
    assert not closed or framer.end()
    return framer


@given(replies(), st.lists(st.integers(0, 900)))
def test_any_reply_split_anywhere_reads_as_h11_reads_it(reply: tuple[bytes, bool], cuts: list[int]) -> None:
    """Status, headers, body and the fate of the connection equal h11's, however the bytes arrive."""
    data, closed = reply
    pieces = pieces_of(data, cuts)
    framer = framed(pieces, closed=closed)
    expected, reusable = h11_reply(pieces, closed=closed)
    assert lowered(framer.reply()) == lowered(expected)
    assert framer.head is not None
    if b"HTTP/1.0 " not in data:  # h11 keeps no HTTP/1.0 connection alive; the rule has its own test
        assert framer.head.keeps_alive is reusable


def lowered(reply: Reply) -> tuple[int, dict[str, str], bytes]:
    """Return a reply for comparison: h11 lowers the value of this one header."""
    headers = {
        name: value.lower() if name == "transfer-encoding" else value for name, value in reply.headers.items()
    }
    return reply.status, headers, reply.body


@pytest.mark.parametrize("cut", range(1, len(PLAIN)))
def test_a_reply_split_at_any_one_byte_is_complete_only_with_its_last(cut: int) -> None:
    """A head or body split at any byte neither ends early nor late."""
    framer = framed([PLAIN[:cut], PLAIN[cut:]])
    assert framer.reply() == Reply(200, {"content-length": "5", "x-a": "1"}, b"hello")


def test_a_reply_to_head_has_no_body() -> None:
    """Content-Length in a reply to HEAD tells of a body that does not come."""
    framer = ReplyFramer("HEAD")
    assert framer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert framer.reply().body == b""


def test_repeated_headers_are_joined_and_folded_lines_unfolded() -> None:
    """No header value is lost on the way into a mapping."""
    framer = framed([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: 1\r\na: 2\r\nB: x\r\n  y\r\n\r\n"])
    assert framer.reply().headers == {"content-length": "0", "a": "1, 2", "b": "x y"}


def test_http_1_0_keeps_alive_only_when_it_says_so() -> None:
    """An HTTP/1.0 connection carries one reply unless it names keep-alive."""
    once = read_head(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n")
    again = read_head(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n")
    assert (once.keeps_alive, again.keeps_alive) == (False, True)


def test_chunked_wins_over_a_length() -> None:
    """RFC 9112, 6.3: Transfer-Encoding overrides Content-Length."""
    head = read_head(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert head.body is BodyKind.CHUNKED


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PLAIN + PLAIN, "bytes after the end of the reply: b'HTTP/1.1"),
        (b"SSH-2.0-x", "no HTTP/1.x status line: b'SSH-2.0-x'"),
        (b"HTTP/1.1 OK\r\n\r\n", "no HTTP/1.x status line: b'HTTP/1.1 OK"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "not a header field: b'no colon'"),
        (b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n", "not a header field: b'bad name: 1'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "contradictory or unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "unreadable content-length: '-1'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n", "is longer than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "gzip, chunked is not understood"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "not the size of a chunk: b'xyz"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "does not end where its size says",
        ),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 " + b"x" * framing.HEAD_LIMIT_BYTES, "no end of the head within"),
    ],
)
def test_what_is_no_reply_is_refused_in_words(data: bytes, words: str) -> None:
    """Broken framing is an error that shows the bytes, never a reply and never a wait."""
    with pytest.raises(FramingError) as caught:
        ReplyFramer().feed(data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "closed the connection without a reply"),
        (PLAIN[:20], "inside the reply's head"),
        (PLAIN[:-2], "inside the reply's body, after 3 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "body, after 3 bytes"),
    ],
)
def test_a_connection_that_closes_early_leaves_no_reply(data: bytes, words: str) -> None:
    """A reply cut short by the end of the connection is an error that says where."""
    framer = ReplyFramer()
    framer.feed(data)
    with pytest.raises(FramingError, match=words):
        framer.end()


def test_an_endless_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body without end stops at a limit instead of filling the memory."""
    monkeypatch.setattr(framing, "BODY_LIMIT_BYTES", 1000)
    framer = ReplyFramer()
    framer.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises(FramingError, match="longer than 1000 bytes"):
        framer.feed(b"x" * 1001)
