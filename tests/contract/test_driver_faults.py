"""A load that goes wrong, or cannot be: what every driver makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.errors import LoadError
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Outcome
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer
from tests.loads import SHORT, Onlooker, assert_sound, mortal, outcomes, posts, run


def test_other_statuses_are_http_errors_with_their_true_times() -> None:
    """A complete reply other than 200 is an HTTP error, told in words, and keeps its connection."""
    busy = ScriptedReply(status=503, body=b'{"detail": "queue full"}', delay_s=0.003)
    with ScriptedServer([ScriptedReply(delay_s=0.003), busy]) as server:
        samples = run(server)
        assert_sound(samples, server)
        assert server.connections == SHORT.concurrency
    counts = outcomes(samples)
    assert set(counts) == {Outcome.OK, Outcome.HTTP_ERROR}
    assert sum(counts.values()) == len(server.requests)
    failed = samples.outcome == Outcome.HTTP_ERROR
    assert np.all(samples.received_ns[failed] - samples.sent_ns[failed] >= 3_000_000)
    assert samples.first_error == f'HTTP 503: {{"detail": "queue full"}} (from 127.0.0.1:{server.port})'


def test_a_refusal_before_the_body_is_sent_is_an_http_error() -> None:
    """A 413 that overtakes a 19 MB body counts as what it is, and the half-sent connection is given up."""
    refusal = ScriptedReply(status=413, body=b"too large")
    with ScriptedServer(refusal, reads_bodies=False) as server:
        samples = run(server, replace(SHORT, concurrency=2), posts(1, 19_000_000))
        assert_sound(samples, server)
    assert set(outcomes(samples)) == {Outcome.HTTP_ERROR}
    assert samples.first_error.startswith("HTTP 413: too large")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (ScriptedReply(body=b"x" * 100, ending=Ending.CUT), "closed the connection inside the reply's"),
        (ScriptedReply(body=b"", ending=Ending.RESET), "Connection reset by peer (ECONNRESET)"),
        (ScriptedReply(raw=b"garbage, not HTTP"), "no HTTP/1.x status line: b'garbage"),
        (
            ScriptedReply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"),
            "bytes after the end of the reply: b'b'",
        ),
        (ScriptedReply(raw=b"", ending=Ending.CLOSE), "closed the connection without a reply"),
    ],
)
def test_broken_replies_are_transport_errors_that_do_not_spin(reply: ScriptedReply, words: str) -> None:
    """No complete reply is a transport error in words; the connection rests before it tries again."""
    watch = Onlooker()
    with ScriptedServer(reply) as server:
        samples = run(server, watch=watch)
        assert_sound(samples, server)
    assert set(outcomes(samples)) == {Outcome.TRANSPORT_ERROR}
    assert SHORT.concurrency <= len(samples) <= SHORT.concurrency * 6
    assert words in samples.first_error
    assert 1 <= watch.asked <= 6


def test_requests_without_reply_time_out_with_their_true_times() -> None:
    """A hanging server costs one time-out per request, and the load still ends on time."""
    load = replace(SHORT, timeout_s=0.1, duration_s=0.25)
    with ScriptedServer(ScriptedReply(ending=Ending.SILENCE)) as server:
        samples = run(server, load)
        assert_sound(samples, server)
    assert set(outcomes(samples)) == {Outcome.TIMEOUT}
    spans = samples.received_ns - samples.sent_ns
    inside = samples.received_ns <= samples.window_ns[1]
    assert inside.sum() >= load.concurrency
    assert len(samples) <= 3 * load.concurrency
    assert np.all((spans >= 0.1e9) & (spans < 0.2e9))
    assert samples.first_error.startswith("no reply within 0.1 s")


def test_a_hang_longer_than_the_window_ends_with_the_time_outs() -> None:
    """What is in flight at the window's end gets its whole time-out, and then counts as one."""
    with ScriptedServer(ScriptedReply(ending=Ending.SILENCE)) as server:
        samples = run(server, replace(SHORT, timeout_s=SHORT.warmup_s + SHORT.duration_s + 0.2))
        assert_sound(samples, server)
    assert outcomes(samples) == {Outcome.TIMEOUT: SHORT.concurrency}
    assert np.all(samples.received_ns - samples.window_ns[1] < 0.5e9)
    assert samples.first_error.startswith("no reply within")


def test_a_server_that_dies_ends_the_load_early_with_all_recorded() -> None:
    """Once the watch says that the server is gone, the load ends and every request has its outcome."""
    server = mortal(lives_for=30)
    watch = Onlooker(lambda: "exit code -9" if server.gone else None)
    with server:
        samples = run(server, replace(SHORT, duration_s=60.0), watch=watch)
        assert_sound(samples, server)
    begin, end = samples.window_ns
    assert end - begin < 5e9
    counts = outcomes(samples)
    assert counts[Outcome.OK] >= 30 - SHORT.concurrency
    assert counts[Outcome.TRANSPORT_ERROR] >= SHORT.concurrency
    assert np.all(samples.received_ns <= end)
    assert samples.first_error


def test_a_server_that_dies_in_the_warm_up_leaves_its_errors_in_the_window() -> None:
    """A load cut short before its window began has its whole length as the window: errors are not hidden."""
    server = mortal(lives_for=10)
    watch = Onlooker(lambda: "exit code 1" if server.gone else None)
    with server:
        samples = run(server, replace(SHORT, warmup_s=60.0), watch=watch)
    begin, end = samples.window_ns
    failed = samples.outcome == Outcome.TRANSPORT_ERROR
    assert failed.any()
    assert np.all((samples.received_ns[failed] >= begin) & (samples.received_ns[failed] <= end))


def test_refused_connections_are_counted_and_retried_with_a_pause() -> None:
    """Nobody listening is a transport error per attempt, some twenty attempts a second, no spinning."""
    with ScriptedServer() as server:
        endpoint = server.endpoint()
    samples = LoadDriver().run(endpoint, posts(1), replace(SHORT, duration_s=0.3), Onlooker())
    assert set(outcomes(samples)) == {Outcome.TRANSPORT_ERROR}
    assert 4 * 3 <= len(samples) <= 4 * 8
    assert "Connection refused (ECONNREFUSED)" in samples.first_error


FAULTS = [
    ScriptedReply(),
    ScriptedReply(status=500),
    ScriptedReply(chunked=True, body=b"x" * 20),
    ScriptedReply(ending=Ending.CLOSE),
    ScriptedReply(body=b"x" * 100, ending=Ending.CUT),
    ScriptedReply(body=b"", ending=Ending.RESET),
    ScriptedReply(ending=Ending.SILENCE),
    ScriptedReply(raw=b"garbage"),
]


@settings(max_examples=12)
@given(st.lists(st.sampled_from(FAULTS), min_size=1, max_size=8), st.integers(1, 5))
def test_no_request_is_lost_or_counted_twice(script: list[ScriptedReply], concurrency: int) -> None:
    """Whatever the server does: every request it saw has one outcome, and the outcomes match the script."""
    load = replace(SHORT, concurrency=concurrency, duration_s=0.12, timeout_s=0.4)
    with ScriptedServer([replace(reply, delay_s=0.001) for reply in script]) as server:
        samples = run(server, load)
        assert_sound(samples, server)
        served = [script[seen.number % len(script)] for seen in server.requests]
    counts = outcomes(samples)
    whole = [reply for reply in served if reply.ending in {Ending.KEEP, Ending.CLOSE} and reply.raw is None]
    assert counts.get(Outcome.OK, 0) == sum(reply.status == 200 for reply in whole)
    assert counts.get(Outcome.HTTP_ERROR, 0) == sum(reply.status != 200 for reply in whole)
    silent = sum(reply.ending is Ending.SILENCE for reply in served)
    assert counts.get(Outcome.TIMEOUT, 0) == silent
    assert counts.get(Outcome.TRANSPORT_ERROR, 0) == len(served) - len(whole) - silent
    assert len(samples) == len(served)


@pytest.mark.parametrize(
    ("load", "requests", "words"),
    [
        (SHORT, [], "no requests"),
        (SHORT, [posts(1)[0], replace(posts(1)[0], protocol=WireProtocol.GRPC)], "grpc on port http"),
        (replace(SHORT, concurrency=0), posts(1), "concurrency=0"),
        (replace(SHORT, duration_s=0.0), posts(1), "duration_s=0.0"),
        (SHORT, [replace(posts(1)[0], headers=(("A", "1\r\n"),))], "'1\\r\\n'"),
    ],
)
def test_an_impossible_load_is_refused_in_words(load: Load, requests: list[WireRequest], words: str) -> None:
    """What can not be sent at all is a LoadError before anything is sent."""
    endpoint = Endpoint(stack="none", host="127.0.0.1", ports={"http": 1}, launcher="none")
    with pytest.raises(LoadError) as caught:
        LoadDriver().run(endpoint, requests, load, Onlooker())
    assert words in caught.value.seen


def test_an_unknown_host_is_refused_in_words() -> None:
    """A name that no resolver knows is told apart from a server that is down."""
    endpoint = Endpoint(stack="none", host="no-such-host.invalid", ports={"http": 80}, launcher="attach")
    with pytest.raises(LoadError, match="address of the server cannot be found"):
        LoadDriver().run(endpoint, posts(1), SHORT, Onlooker())
