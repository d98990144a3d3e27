"""A load that goes well, as every driver runs it."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

from pytest_servebench.interfaces import Driver
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.results import Progress
from pytest_servebench.samples import Outcome
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer
from tests.loads import SHORT, STEADY, Onlooker, assert_sound, echo, outcomes, posts, run


@pytest.fixture
def driver() -> Driver:
    """Return the driver under contract."""
    return LoadDriver()


def test_requests_go_round_robin_over_kept_connections() -> None:
    """As many connections as asked, none opened twice, each request as often as the others, none lost."""
    with ScriptedServer(echo) as server:
        samples = run(server, requests=posts(5))
        assert_sound(samples, server)
        assert outcomes(samples) == {Outcome.OK: len(server.requests)}
        assert server.connections == SHORT.concurrency
        assert max(np.bincount(samples.request_index)) - min(np.bincount(samples.request_index)) <= 1
        assert np.array_equal(samples.request_index, np.arange(len(samples)) % 5)
        assert samples.first_error == ""


def test_kept_replies_belong_to_their_requests() -> None:
    """A kept reply stands at the position of the request that it answers."""
    with ScriptedServer(echo) as server:
        samples = run(server, requests=posts(16))
    assert len(samples.replies) >= 8
    for position, reply in samples.replies.items():
        assert int(reply.body) == samples.request_index[position]
        assert reply.headers["content-type"] == "application/json"


def test_the_window_begins_after_the_warm_up_without_a_pause() -> None:
    """Warm-up is excluded by time: its samples stay in the arrays, the load goes over without draining."""
    load = replace(SHORT, warmup_s=0.15, duration_s=0.2)
    with ScriptedServer(STEADY) as server:
        samples = run(server, load)
        begin, end = samples.window_ns
        assert begin - samples.sent_ns[0] == pytest.approx(0.15e9, rel=0.3)
        assert end - begin == pytest.approx(0.2e9, rel=0.3)
        across = (samples.sent_ns < begin) & (samples.received_ns > begin)
        assert 1 <= across.sum() <= load.concurrency
        # what was in flight at the end was awaited and lies outside the window
        assert outcomes(samples) == {Outcome.OK: len(server.requests)}
        assert 1 <= (samples.received_ns > end).sum() <= load.concurrency


def test_concurrency_is_what_is_in_flight() -> None:
    """Never more than the asked number is in flight, and nearly always that number (Little's law)."""
    with ScriptedServer(ScriptedReply(delay_s=0.005)) as server:
        samples = run(server, replace(SHORT, concurrency=6))
    sent = [(t, 1) for t in samples.sent_ns.tolist()]
    got = [(t, -1) for t in samples.received_ns.tolist()]
    in_flight = np.cumsum([change for _, change in sorted(sent + got)])
    assert in_flight.max() == 6
    begin, end = samples.window_ns
    spent = np.minimum(samples.received_ns, end) - np.maximum(samples.sent_ns, begin)
    assert spent.sum() / (end - begin) > 5


def test_progress_is_told_a_few_times_a_second() -> None:
    """Who watches sees each stage as soon as it begins, growing counts and a p95."""
    watch = Onlooker()
    with ScriptedServer(STEADY) as server:
        run(server, replace(SHORT, warmup_s=0.3, duration_s=0.6), watch=watch)
    assert list(dict.fromkeys(p.stage for p in watch.seen)) == ["warm-up", "measuring", "draining"]
    assert 4 <= len(watch.seen) <= 8
    assert [p.completed for p in watch.seen] == sorted(p.completed for p in watch.seen)
    assert watch.seen[-1].remaining_s == 0
    last = next(p for p in reversed(watch.seen) if p.stage == "measuring")
    assert last.throughput_per_s > 0
    assert last.response_time_p95_ms is not None
    assert last.response_time_p95_ms >= 2.0
    assert last.elapsed_s + last.remaining_s == pytest.approx(0.9, rel=0.3)


def test_client_cpu_is_that_of_the_window() -> None:
    """The client's CPU time is above nothing and below the window's length."""
    with ScriptedServer(STEADY) as server:
        samples = run(server)
    begin, end = samples.window_ns
    assert 0 < samples.client_cpu_s <= (end - begin) / 1e9


def test_the_collector_is_restored_whatever_happens() -> None:
    """Garbage collection is off in the loop and on again after it, also after an interrupt."""

    class Interrupting(Onlooker):
        def progress(self, progress: Progress) -> None:
            assert not gc.isenabled()
            raise KeyboardInterrupt

    with ScriptedServer(STEADY) as server, pytest.raises(KeyboardInterrupt):
        run(server, watch=Interrupting())
    assert gc.isenabled()


def test_times_agree_with_the_server(driver: Driver) -> None:
    """The client's p50 is the server's own p50 and a little more, never less."""
    with ScriptedServer(ScriptedReply(delay_s=0.005)) as server:
        samples = driver.run(server.endpoint(), posts(2), replace(SHORT, duration_s=0.5), Onlooker())
        served_ms = float(np.median(server.served_ns)) / 1e6
    seen_ms = float(np.median(samples.received_ns - samples.sent_ns)) / 1e6
    assert served_ms <= seen_ms * 1.02
    assert seen_ms <= served_ms * 1.25 + 0.5


@pytest.mark.parametrize(
    "reply",
    [
        ScriptedReply(chunked=True, body=b"x" * 100),
        ScriptedReply(drip_bytes=9, body=b"x" * 30),
        ScriptedReply(interim=(100, 102)),
        ScriptedReply(body=b"y" * 500_000),
        ScriptedReply(body=b"z" * 65536),
    ],
)
def test_replies_of_any_shape_are_ok_and_keep_their_connection(reply: ScriptedReply) -> None:
    """Chunks, drips, interim replies and large bodies are all one OK reply each."""
    with ScriptedServer(replace(reply, delay_s=0.001)) as server:
        samples = run(server)
        assert_sound(samples, server)
        assert outcomes(samples) == {Outcome.OK: len(server.requests)}
        assert server.connections == SHORT.concurrency
    assert {kept.body for kept in samples.replies.values()} == {reply.body}


@pytest.mark.parametrize("unframed", [False, True])
def test_a_connection_that_the_server_closes_is_replaced(*, unframed: bool) -> None:
    """With ``Connection: close`` every request gets a connection of its own, without an error."""
    with ScriptedServer(ScriptedReply(ending=Ending.CLOSE, unframed=unframed)) as server:
        samples = run(server)
        assert_sound(samples, server)
        assert outcomes(samples) == {Outcome.OK: len(server.requests)}
        assert server.connections == len(server.requests) > SHORT.concurrency


@pytest.mark.parametrize("size", [602_112, 19_000_000])
def test_bodies_larger_than_the_socket_buffers_arrive_whole(size: int) -> None:
    """A tensor batch of 19 MB is sent in as many turns as it takes, byte for byte."""
    with ScriptedServer() as server:
        samples = run(server, replace(SHORT, concurrency=2), posts(2, size))
        assert_sound(samples, server)
        assert outcomes(samples) == {Outcome.OK: len(server.requests)}
        assert {seen.body for seen in server.requests} == {request.body for request in posts(2, size)}
