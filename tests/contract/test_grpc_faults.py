"""What our gRPC does when servers leave, refuse, lie or say nothing: every call has one outcome, in words."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.arrivals import Constant
from pytest_servebench.errors import LoadError
from pytest_servebench.load import http2
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.samples import Outcome, Samples
from tests.http2_server import (
    HEAD,
    Http2Server,
    Script,
    Talk,
    answer,
    answering,
    block,
    data,
    goaway,
    headers,
    message,
    refusal,
    trailers,
)
from tests.loads import Onlooker, outcomes

LOAD = Load(concurrency=3, warmup_s=0.0, duration_s=0.2, timeout_s=5.0, verify_share=1.0)
OPEN = replace(LOAD, arrivals=Constant(200), max_in_flight=20)
PATH = "/inference.GRPCInferenceService/ModelInfer"


def call(size: int = 100, **fields: object) -> WireRequest:
    """Return a call whose message is so long."""
    request = WireRequest(
        protocol=WireProtocol.GRPC, path=PATH, body=b"0:".ljust(size, b"."), port_role="grpc"
    )
    return replace(request, **fields)  # type: ignore[arg-type]


def run(server: Http2Server, load: Load = LOAD, request: WireRequest | None = None) -> Samples:
    """Run the load against the server."""
    return LoadDriver().run(server.endpoint(), [request or call()], load, Onlooker())


def outcome_of(script: Script, load: Load = LOAD, request: WireRequest | None = None) -> tuple[Outcome, str]:
    """Return the one outcome that every call has, and the first failure in words without its address."""
    with Http2Server(script) as server:
        samples = run(server, load, request)
        words = samples.first_error.replace(f" (from 127.0.0.1:{server.port})", "")
    assert len(samples) > 0
    (outcome,) = outcomes(samples)
    return outcome, words


def after_each(*make: Callable[[int], bytes]) -> Script:
    """Return a script that sends these after every call; each is told the call's stream."""

    def script(talk: Talk) -> None:
        talk.greet()
        while True:
            stream = talk.call().stream
            talk.send(*(one(stream) for one in make))

    return script


@pytest.mark.parametrize("load", [LOAD, OPEN], ids=["closed", "open"])
def test_every_call_is_one_sample(load: Load) -> None:
    """What the server had whole is what was counted, over as few connections as that takes."""
    with Http2Server() as server:
        samples = run(server, load)
        assert len(samples) == len(server.calls)
        assert server.connections <= LOAD.concurrency if load is LOAD else 20
    assert set(outcomes(samples)) == {Outcome.OK}
    assert {reply.body for reply in samples.replies.values()} == {b"0"}


@pytest.mark.parametrize("load", [LOAD, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("last", [0, (1 << 31) - 1], ids=["this", "any"])
def test_a_server_that_leaves_politely_loses_no_call(load: Load, last: int) -> None:
    """GOAWAY with the reply, as servers renew connections: the next call takes a new one."""

    def leaving(talk: Talk) -> None:
        talk.greet()
        for _ in range(3):
            seen = talk.call()
            if seen.stream == 5:
                talk.send(goaway(last or seen.stream))
            talk.send(answer(seen.stream))
        with pytest.raises(EOFError):  # the client takes its leave
            talk.frame()

    with Http2Server(leaving) as server:
        samples = run(server, load)
        assert len(samples) == len(server.calls)
        assert max(seen.stream for seen in server.calls) == 5
    assert set(outcomes(samples)) == {Outcome.OK}


@pytest.mark.parametrize("load", [LOAD, OPEN], ids=["closed", "open"])
def test_a_call_that_crosses_the_servers_leave_is_sent_again_and_counted_once(load: Load) -> None:
    """The server says that it did not look at the call; its instants stay those of the first sending."""

    def leaving(talk: Talk) -> None:
        talk.greet()
        seen = talk.call()
        talk.send(answer(seen.stream))
        while talk.frame()[0] != http2.DATA:
            pass
        talk.send(goaway(seen.stream))

    with Http2Server(leaving) as server:
        samples = run(server, load)
        assert server.connections > 4
        assert len(samples) == len(server.calls)
    assert set(outcomes(samples)) == {Outcome.OK}


@pytest.mark.parametrize("load", [LOAD, OPEN], ids=["closed", "open"])
def test_streams_that_run_out_are_continued_on_a_new_connection(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers end (at 2^31; here at 7), and no call is lost by it."""
    monkeypatch.setattr("pytest_servebench.load.grpc_connection.LAST_STREAM", 7)
    with Http2Server() as server:
        samples = run(server, load)
        assert len(samples) == len(server.calls)
        assert {seen.stream for seen in server.calls} == {1, 3, 5, 7}
    assert set(outcomes(samples)) == {Outcome.OK}


def renewing(talk: Talk) -> None:
    """Leave at every first call."""
    talk.greet()
    talk.call()
    talk.send(goaway(0))


def silent(talk: Talk) -> None:
    """Say nothing at all."""
    talk.read(1 << 30)


def saying(words: bytes, heard: int = 24) -> Script:
    """Return a script that says this when it has heard so much, and hangs up, politely if it heard all."""

    def script(talk: Talk) -> None:
        talk.read(heard)
        talk.send(words)
        if heard == 0:
            talk.finish()
            talk.drain()

    return script


def without_status(stream: int) -> bytes:
    """Return a reply that ends with its message."""
    return headers(stream, HEAD) + data(stream, message(b"m"), http2.END_STREAM)


def with_message(body: bytes) -> Callable[[int], bytes]:
    """Return what makes replies whose message is this, prefix and all."""
    return lambda stream: headers(stream, HEAD) + data(stream, body) + trailers(stream)


def page(stream: int) -> bytes:
    """Return what a proxy says."""
    head = block({":status": "503", "content-type": "text/html"})
    return headers(stream, head) + data(stream, b"<html>", http2.END_STREAM)


def gzipped(stream: int) -> bytes:
    """Return a reply that announces a compression."""
    coded = block({":status": "200", "content-type": "application/grpc", "grpc-encoding": "gzip"})
    return headers(stream, coded) + data(stream, message(b"m")) + trailers(stream)


def closing(make: Callable[[int], bytes]) -> Script:
    """Return a script that sends this after a call, and hangs up."""

    def script(talk: Talk) -> None:
        talk.greet()
        talk.send(make(talk.call().stream))

    return script


RESET, STATUS_13 = struct.pack(">I", 7), block({"grpc-status": "13"})
TLS = b"\x15\x03\x01\0\x02\x02\x46"
BROKEN = {
    "reset": (
        after_each(lambda s: http2.frame(http2.RST_STREAM, 0, s, RESET)),
        "the server reset the call: REFUSED_STREAM",
    ),
    "goaway": (after_each(lambda s: goaway(0, 11, b"calm")), "GOAWAY ENHANCE_YOUR_CALM: calm"),
    "renewing": (renewing, "the server ended the connection before it took the call: GOAWAY NO_ERROR"),
    "closed": (closing(lambda s: b""), "the server closed the connection without a reply"),
    "cut": (closing(lambda s: answer(s)[:-9]), "the server closed the connection inside the reply"),
    "tls": (saying(TLS, 0), "the server requires TLS, which this load does not speak"),
    "tls, reset": (saying(b""), "does it require TLS?"),
    "http1": (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", 0), "the server speaks HTTP/1, not gRPC"),
    "no status": (after_each(without_status), "the reply ended without a grpc-status"),
    "short": (after_each(with_message(b"\0\0")), "the reply has 2 bytes where a message begins with 5"),
    "prefix": (
        after_each(with_message(message(b"four", length=9))),
        "the reply's message has 4 bytes, not the 9 that its prefix says",
    ),
    "compressed": (
        after_each(with_message(message(b"m", compressed=1))),
        "the reply's message is compressed, although only identity is accepted",
    ),
    "gzip": (after_each(gzipped), "the reply is compressed (gzip), although only identity is accepted"),
    "unreadable": (
        after_each(lambda s: trailers(s, b"\xff\xff\xff")),
        "the header block of a reply cannot be read",
    ),
    "table": (after_each(lambda s: trailers(s, b"\xbe")), "the header block of a reply cannot be read"),
}


@pytest.mark.parametrize(("script", "words"), BROKEN.values(), ids=BROKEN)
def test_no_sound_reply_is_a_transport_error_in_words(script: Script, words: str) -> None:
    """Whatever breaks a call, it has an outcome and a sentence, and errors do not spin."""
    outcome, seen = outcome_of(script)
    assert outcome is Outcome.TRANSPORT_ERROR
    assert words in seen


REFUSED = {
    "trailers only": (
        after_each(lambda s: trailers(s, refusal(14, "queue%20full"))),
        "gRPC 14 UNAVAILABLE: queue full",
    ),
    "after a message": (
        after_each(lambda s: headers(s, HEAD) + data(s, message(b"m")) + trailers(s, STATUS_13)),
        "gRPC 13 INTERNAL: ",
    ),
    "unknown": (after_each(lambda s: trailers(s, refusal(77, "odd"))), "gRPC 77 not a status of gRPC: odd"),
    "a page": (after_each(page), "HTTP 503 with text/html, which is not gRPC"),
}


@pytest.mark.parametrize(("script", "words"), REFUSED.values(), ids=REFUSED)
def test_a_status_that_the_server_sent_is_its_answer(script: Script, words: str) -> None:
    """A refusal is a complete reply, told apart from none, and the connection goes on."""
    assert outcome_of(script) == (Outcome.HTTP_ERROR, words)


def test_a_message_that_the_server_does_not_want_is_refused_before_it_is_sent() -> None:
    """The reply comes while most of the message waits for permission that never comes."""

    def full(talk: Talk) -> None:
        talk.greet(window=20_000, connection_window=http2.WINDOW_BYTES)
        stream = 0
        while not stream:
            kind, _, at, _ = talk.frame()
            stream = at if kind == http2.DATA else 0
        talk.send(trailers(stream, refusal(8, "larger than max")))
        talk.drain()

    outcome, words = outcome_of(full, request=call(5_000_000))
    assert (outcome, words) == (Outcome.HTTP_ERROR, "gRPC 8 RESOURCE_EXHAUSTED: larger than max")


@pytest.mark.parametrize("load", [LOAD, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize(
    "script", [silent, after_each(), after_each(lambda s: headers(s, HEAD))], ids=["mute", "deaf", "half"]
)
def test_a_silent_server_costs_a_time_out_each(script: Script, load: Load) -> None:
    """From when the call was sent, whether the connection ever spoke HTTP/2 or not."""
    load = replace(load, timeout_s=0.15)
    with Http2Server(script) as server:
        samples = run(server, load)
    timed_out = samples.outcome == Outcome.TIMEOUT
    assert timed_out.any()
    assert np.all(timed_out | (samples.outcome == Outcome.DROPPED))
    spans_ns = (samples.received_ns - samples.sent_ns)[timed_out]
    assert np.all((spans_ns >= 0.15e9) & (spans_ns < 0.6e9))
    if load.arrivals is None:
        assert samples.first_error.startswith("no reply within 0.15 s")


def test_pings_before_and_between_replies_are_answered() -> None:
    """A server that hears nothing of its PINGs would take the client for dead."""

    def pinging(talk: Talk) -> None:
        talk.greet()
        while True:
            seen = talk.call()
            ping = http2.frame(http2.PING, 0, 0, seen.number.to_bytes(8, "big"))
            talk.send(ping)
            while talk.acks[-1:] != [seen.number.to_bytes(8, "big")]:
                talk.frame()
            talk.send(answer(seen.stream))

    with Http2Server(pinging) as server:
        samples = run(server)
        assert len(samples) == len(server.calls)
    assert set(outcomes(samples)) == {Outcome.OK}


@settings(max_examples=15)
@given(
    st.integers(1, 40_000),
    st.integers(http2.WINDOW_BYTES, 200_000),
    st.integers(http2.FRAME_BYTES, 100_000),
    st.integers(0, 150_000),
)
def test_no_window_of_the_server_is_overrun(window: int, connection: int, frame: int, size: int) -> None:
    """Small windows, opened by what was read of them: messages come whole, and never too much at once."""
    window = max(window, size // 40)

    def strict(talk: Talk) -> None:
        talk.greet(window, connection, frame)
        while True:
            talk.send(answer(talk.call(regrant=True).stream))

    load = replace(LOAD, duration_s=0.03)
    with Http2Server(strict) as server:  # which notes what was not allowed, and fails by it
        samples = run(server, load, call(size))
        bodies = {seen.body for seen in server.calls}
        assert len(samples) == len(server.calls)
    assert set(outcomes(samples)) == {Outcome.OK}, samples.first_error
    assert bodies == {message(call(size).body)}


SCRIPTS = [answering, closing(lambda s: b""), renewing, after_each(page), BROKEN["prefix"][0]]


@settings(max_examples=12)
@given(st.lists(st.sampled_from(SCRIPTS), min_size=1, max_size=6), st.integers(1, 4), st.booleans())
def test_sent_is_every_outcome_and_offered_is_sent_and_dropped(
    scripts: list[Script], cap: int, waits: bool
) -> None:
    """Whatever each connection does: no call is lost and none counted twice."""
    load = replace(LOAD, concurrency=cap) if waits else replace(OPEN, max_in_flight=cap)

    def any_of(talk: Talk) -> None:
        scripts[talk.number % len(scripts)](talk)

    with Http2Server(any_of) as server:
        samples = run(server, replace(load, duration_s=0.1, timeout_s=2.0))
        seen = len(server.calls)
    dropped = int((samples.outcome == Outcome.DROPPED).sum())
    assert len(samples) == seen + dropped
    assert set(outcomes(samples)) <= {*Outcome} - {Outcome.TIMEOUT}
    if not waits:
        assert np.all(np.diff(np.sort(samples.intended_ns)) == 5_000_000)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (call(path="no/slash"), "its path is not one"),
        (call(headers=(("x\n", "y"),)), "its metadata are not printable"),
        (call(headers=(("x", "ü"),)), "its metadata are not printable"),
        (call(headers=(("grpc-timeout", "1S"),)), "its grpc-timeout is written by the driver"),
        (call(headers=(("x", "y" * 20_000),)), "its metadata are longer than one frame"),
    ],
)
def test_a_call_that_cannot_be_sent_is_refused_before_the_load(request_: WireRequest, words: str) -> None:
    """What would break the connection is a LoadError with the method."""
    with Http2Server() as server, pytest.raises(LoadError, match=words):
        run(server, request=request_)
