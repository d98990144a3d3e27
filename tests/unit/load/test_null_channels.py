"""The null server's connections, driven over a socket pair: every request is answered, however it arrives."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.load import null_http2
from pytest_servebench.load.framing import ReplyFramer
from pytest_servebench.load.null_channel import GONE, Channel
from pytest_servebench.load.null_http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Channel,
    frame,
)
from pytest_servebench.load.null_server import Http1Channel, http_reply


@given(st.integers(0, 12_000))
def test_a_reply_has_exactly_the_bytes_asked_for(reply_bytes: int) -> None:
    """And is one that our own framing reads; below the shortest head it is the shortest."""
    wire = http_reply(reply_bytes)
    assert len(wire) == max(reply_bytes, len(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    assert ReplyFramer("POST").feed(wire)


def test_the_lengths_digits_are_no_gap() -> None:
    """Sizes at which the length of the body gets another digit are met as well."""
    for reply_bytes in (*range(30, 300), *range(1030, 1060), *range(10_030, 10_060)):
        assert len(http_reply(reply_bytes)) == max(reply_bytes, 38)


@dataclass
class Client:
    """The other end of a channel."""

    end: socket.socket

    def send(self, channel: Channel, pieces: Sequence[bytes]) -> None:
        """Send each piece and have the channel read all of it."""
        for piece in pieces:
            self.end.sendall(piece)
            self.pump(channel)

    @staticmethod
    def pump(channel: Channel) -> None:
        """Have the channel read until there is nothing more."""
        while select.select([channel._socket], [], [], 0)[0]:
            channel.receive()

    def received(self) -> bytes:
        """Return everything that has come."""
        data = b""
        while select.select([self.end], [], [], 0)[0]:
            data += self.end.recv(1 << 20)
        return data


@pytest.fixture
def pair() -> Iterator[tuple[Client, socket.socket]]:
    """Return a client and the server's end of its connection."""
    client, opened = connected()
    with client.end, opened:
        yield client, opened


def connected() -> tuple[Client, socket.socket]:
    """Return both ends of a new connection."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.setblocking(False)
    return Client(ours), theirs


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return ``data`` in pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if b > a]


REPLY = http_reply(100)
sizes = st.lists(st.integers(0, 20_000), min_size=1, max_size=6)
places = st.lists(st.integers(0, 1 << 20), max_size=8)


@settings(max_examples=60)
@given(sizes, places)
def test_http_requests_are_answered_once_each(bodies: list[int], cuts: list[int]) -> None:
    """However they are cut into segments, pipelined or not, with bodies of blank lines."""
    wire = b"".join(
        b"POST / HTTP/1.1\r\ncontent-LENGTH: %d\r\n\r\n" % n + b"\r\n\r\n\r\n"[:n].ljust(n) for n in bodies
    )
    client, opened = connected()
    with client.end, opened:
        client.send(Http1Channel(opened, REPLY, {}), cut(wire, cuts))
        assert client.received() == REPLY * len(bodies)


def test_a_client_that_closes_or_never_ends_its_head_is_dropped(pair: tuple[Client, socket.socket]) -> None:
    """Both are told by an error that the server takes for the end of the connection."""
    client, opened = pair
    channel = Http1Channel(opened, REPLY, {})
    with pytest.raises(GONE):
        client.send(channel, [b"x" * 8192] * 10)
    client.end.close()
    again, opened = connected()
    with opened:
        again.end.close()
        with pytest.raises(GONE):
            Http1Channel(opened, REPLY, {}).receive()


def test_a_client_that_does_not_read_is_sent_the_rest_later(pair: tuple[Client, socket.socket]) -> None:
    """A reply larger than the socket's buffer arrives whole once the client reads."""
    client, opened = pair
    reply = http_reply(8 << 20)
    channel = Http1Channel(opened, reply, {})
    client.send(channel, [b"GET / HTTP/1.1\r\n\r\n"])
    got = b""
    while channel.unsent:
        got += client.received()
        channel.flush()
    assert got + client.received() == reply


def frames_of(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return (kind, flags, stream, payload) of every frame in ``data``."""
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def request(stream: int, *parts: int) -> bytes:
    """Return the frames of a request whose message comes in parts of these lengths."""
    data = [frame(DATA, 0, stream, bytes(n)) for n in parts[:-1]]
    last = frame(DATA, END_STREAM, stream, bytes(parts[-1]))
    return frame(HEADERS, END_HEADERS, stream, b"\x83\x86") + b"".join(data) + last


def settled(first_window: int = 1 << 20) -> bytes:
    """Return how a client begins."""
    return PREFACE + frame(SETTINGS, 0, 0, struct.pack("!HI", 4, first_window))


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 20_000), min_size=1, max_size=3), min_size=1, max_size=4), places)
def test_grpc_streams_are_answered_once_each(messages: list[list[int]], cuts: list[int]) -> None:
    """However frames are cut into segments: headers, one message of the length asked for, status 0."""
    wire = settled() + b"".join(request(2 * i + 1, *parts) for i, parts in enumerate(messages))
    client, opened = connected()
    with client.end, opened:
        client.send(Http2Channel(opened, 300), cut(wire, cuts))
        frames = frames_of(client.received())
    replies = [one for one in frames if one[2]]
    assert [(kind, stream) for kind, _, stream, _ in replies] == [
        (kind, 2 * i + 1) for i in range(len(messages)) for kind in (HEADERS, DATA, HEADERS)
    ]
    assert all(one[3] == b"\0" + struct.pack("!I", 300) + bytes(300) for one in replies if one[0] == DATA)
    assert [one[1] for one in replies[2::3]] == [END_HEADERS | END_STREAM] * len(messages)
    assert (SETTINGS, ACK, 0, b"") in frames


def test_a_ping_comes_back(pair: tuple[Client, socket.socket]) -> None:
    """With its own eight bytes; an acknowledgement is not acknowledged."""
    client, opened = pair
    pings = frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"87654321")
    client.send(Http2Channel(opened, 1), [settled() + pings])
    assert [one for one in frames_of(client.received()) if one[0] == PING] == [(PING, ACK, 0, b"12345678")]


def test_the_clients_windows_are_respected(pair: tuple[Client, socket.socket]) -> None:
    """A message waits for stream and connection both, in pieces, and its end comes after the last."""
    client, opened = pair
    channel = Http2Channel(opened, 995)
    client.send(channel, [settled(first_window=400) + request(1, 10)])
    (data,) = [one for one in frames_of(client.received()) if one[0] == DATA]
    assert len(data[3]) == 400
    client.send(channel, [frame(WINDOW_UPDATE, 0, 1, struct.pack("!I", 100))])
    assert [(one[0], len(one[3])) for one in frames_of(client.received())] == [(DATA, 100)]
    client.send(channel, [frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 4000))])
    rest = [one for one in frames_of(client.received()) if one[2] == 1]
    assert [(one[0], one[1]) for one in rest] == [(DATA, 0), (HEADERS, END_HEADERS | END_STREAM)]
    assert len(rest[0][3]) == 500


def test_a_connections_window_is_shared_by_its_streams(pair: tuple[Client, socket.socket]) -> None:
    """65,535 bytes in all until the client gives more, whatever each stream might take."""
    client, opened = pair
    channel = Http2Channel(opened, 40_000)
    client.send(channel, [settled() + request(1, 1) + request(3, 1)])
    frames = [one for one in frames_of(client.received()) if one[0] == DATA]
    assert sum(len(one[3]) for one in frames) == 65_535
    client.send(channel, [frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1 << 20))])
    rest = frames_of(client.received())
    assert sum(len(one[3]) for one in rest if one[0] == DATA) == 2 * 40_005 - 65_535
    assert max(len(one[3]) for one in frames) == 16_384, "no frame is longer than the client takes"


def test_a_cancelled_stream_is_forgotten(pair: tuple[Client, socket.socket]) -> None:
    """What its reply still had to send is not sent."""
    client, opened = pair
    channel = Http2Channel(opened, 1000)
    client.send(channel, [settled(first_window=10) + request(1, 1)])
    client.received()
    client.send(
        channel, [frame(RST_STREAM, 0, 1, bytes(4)) + frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 9000))]
    )
    assert [one for one in frames_of(client.received()) if one[2]] == []


def test_the_clients_own_window_never_ends(
    pair: tuple[Client, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken is given back, to the byte."""
    monkeypatch.setattr(null_http2, "_RENEWED_BYTES", 100_000)
    client, opened = pair
    client.send(Http2Channel(opened, 1), [settled(), *(request(2 * i + 1, 16_000) for i in range(20))])
    updates = [one[3] for one in frames_of(client.received())[2:] if one[0] == WINDOW_UPDATE]
    given_back = [struct.unpack("!I", update)[0] for update in updates]
    assert given_back == [112_000, 112_000]


@pytest.mark.parametrize(
    "wire", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", PREFACE + frame(SETTINGS, 0, 0, b"odd")]
)
def test_what_is_not_http2_is_dropped(pair: tuple[Client, socket.socket], wire: bytes) -> None:
    """A client of another protocol gets no reply that it might misread."""
    client, opened = pair
    channel = Http2Channel(opened, 1)
    client.received()
    with pytest.raises(GONE):
        client.send(channel, [wire])
    assert client.received() == b""
