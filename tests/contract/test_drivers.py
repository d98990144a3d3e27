"""What every driver does, over a server that behaves and misbehaves by script."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Driver
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Outcome, Progress, Samples
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer, SeenRequest

SHORT = Load(concurrency=4, warmup_s=0.0, duration_s=0.2, timeout_s=5.0, verify_share=0.05)
STEADY = ScriptedReply(delay_s=0.002)


class Onlooker:
    """A watch that remembers what it saw and says of the server what it is told to say."""

    def __init__(self, gone: Callable[[], str | None] = lambda: None) -> None:
        self.seen: list[Progress] = []
        self.asked = 0
        self._gone = gone

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def server_gone(self) -> str | None:
        self.asked += 1
        return self._gone()


@pytest.fixture
def driver() -> Driver:
    """Return the driver under contract."""
    return LoadDriver()


def posts(count: int, size: int = 100) -> list[WireRequest]:
    """Return requests whose bodies tell which they are."""
    bodies = [f"{i}:".encode().ljust(size, b".") for i in range(count)]
    return [WireRequest(protocol=WireProtocol.HTTP, path=f"/r/{i}", body=b) for i, b in enumerate(bodies)]


def echo(seen: SeenRequest) -> ScriptedReply:
    """Answer with the number that the request carries."""
    return ScriptedReply(body=seen.body.split(b":")[0], delay_s=0.001)


def mortal(lives_for: int) -> ScriptedServer:
    """Return a server that dies, socket and connections at once, when so many requests have come."""

    def script(seen: SeenRequest) -> ScriptedReply:
        if seen.number == lives_for:
            server.crash()
        return STEADY

    server = ScriptedServer(script)
    return server


def run(
    server: ScriptedServer,
    load: Load = SHORT,
    requests: Sequence[WireRequest] | None = None,
    watch: Onlooker | None = None,
) -> Samples:
    """Run the load against the server."""
    return LoadDriver().run(server.endpoint(), requests or posts(3), load, watch or Onlooker())


def outcomes(samples: Samples) -> dict[Outcome, int]:
    """Return how often each outcome is among the samples."""
    found, counts = np.unique(samples.outcome, return_counts=True)
    return {Outcome(int(o)): int(n) for o, n in zip(found, counts, strict=True)}


def assert_sound(samples: Samples, server: ScriptedServer) -> None:
    """Arrays agree, times are ordered, and no request is lost or counted twice."""
    begin, end = samples.window_ns
    assert begin < end
    arrays = (samples.intended_ns, samples.received_ns, samples.outcome, samples.request_index)
    assert {len(a) for a in arrays} == {len(samples)}
    assert np.all(samples.intended_ns == samples.sent_ns)
    assert np.all(np.diff(samples.sent_ns) >= 0)
    assert np.all(samples.received_ns >= samples.sent_ns)
    assert np.all(samples.sent_ns <= end)
    assert len(server.requests) <= len(samples)
    answered = np.isin(samples.outcome, (Outcome.OK, Outcome.HTTP_ERROR)).sum()
    assert answered <= len(server.requests)
    assert set(samples.replies) <= set(range(len(samples)))
    assert all(samples.outcome[i] == Outcome.OK for i in samples.replies)
    assert all(begin <= samples.received_ns[i] <= end for i in samples.replies)


# One request.


def test_an_exchange_returns_the_reply_whatever_its_status(driver: Driver) -> None:
    """Status, lower-case headers and body come back, of an error as of a success."""
    with ScriptedServer([ScriptedReply(body=b"yes"), ScriptedReply(status=503, body=b"full")]) as server:
        first, second = (driver.exchange(server.endpoint(), posts(1)[0], 5.0) for _ in range(2))
        assert (first.status, first.body, first.headers["content-type"]) == (200, b"yes", "application/json")
        assert (second.status, second.body) == (503, b"full")
        assert server.connections == 2
        assert server.requests[0].headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        (ScriptedReply(ending=Ending.SILENCE), "no reply within 0.1 s"),
        (ScriptedReply(body=b"x" * 100, ending=Ending.CUT), "closed the connection inside the reply's"),
        (ScriptedReply(body=b"", ending=Ending.RESET), "(ECONNRESET)"),
        (ScriptedReply(raw=b"SSH-2.0\r\n"), "no HTTP/1.x status line"),
        (ScriptedReply(raw=b"", ending=Ending.CLOSE), "without a reply"),
    ],
)
def test_an_exchange_without_reply_says_what_happened_where(
    driver: Driver, reply: ScriptedReply, seen: str
) -> None:
    """Each failure is a LoadError with the address, what was seen, and what to do next."""
    with ScriptedServer(reply) as server, pytest.raises(LoadError) as caught:
        driver.exchange(server.endpoint(), posts(1)[0], 0.1 if reply.ending is Ending.SILENCE else 5.0)
    assert seen in caught.value.seen
    assert caught.value.where == f"POST 127.0.0.1:{server.port}/r/0"
    assert caught.value.next_step


def test_an_exchange_with_nobody_there_is_refused(driver: Driver) -> None:
    """A closed port and an unknown host are errors in words."""
    with ScriptedServer() as server:
        endpoint = server.endpoint()
    with pytest.raises(LoadError, match="ECONNREFUSED"):
        driver.exchange(endpoint, posts(1)[0], 1.0)
    with pytest.raises(LoadError, match="has no grpc port"):
        driver.exchange(endpoint, replace(posts(1)[0], port_role="grpc"), 1.0)


def test_an_exchange_of_any_shape_is_whole(driver: Driver) -> None:
    """Interim replies, chunks, drips, bodies without length and large ones arrive as they were sent."""
    large = bytes(range(256)) * 4000
    shapes = [
        ScriptedReply(body=large),
        ScriptedReply(body=large[:3000], chunked=True, interim=(100, 103)),
        ScriptedReply(body=large[:50], drip_bytes=3),
        ScriptedReply(body=large, unframed=True, ending=Ending.CLOSE),
    ]
    with ScriptedServer(shapes) as server:
        assert [driver.exchange(server.endpoint(), posts(1)[0], 5.0).body for _ in shapes] == [
            shape.body for shape in shapes
        ]


def test_an_exchange_hears_a_refusal_given_before_the_body_was_read(driver: Driver) -> None:
    """A 413 that comes while 19 MB are still being sent is the reply."""
    with ScriptedServer(ScriptedReply(status=413, body=b"too large"), reads_bodies=False) as server:
        assert driver.exchange(server.endpoint(), posts(1, 19_000_000)[0], 5.0).status == 413


# A load that goes well.


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
    """Who watches sees both stages, growing counts and a p95."""
    watch = Onlooker()
    with ScriptedServer(STEADY) as server:
        run(server, replace(SHORT, warmup_s=0.3, duration_s=0.6), watch=watch)
    assert [p.stage for p in watch.seen[:1] + watch.seen[-1:]] == ["warm-up", "measuring"]
    assert 3 <= len(watch.seen) <= 6
    assert [p.completed for p in watch.seen] == sorted(p.completed for p in watch.seen)
    last = watch.seen[-1]
    assert last.throughput_per_s > 0
    assert last.response_time_p95_ms is not None
    assert last.response_time_p95_ms >= 2.0
    assert last.elapsed_s + last.remaining_s == pytest.approx(0.9)


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


# A load that goes wrong.


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


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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


# A load that cannot be.


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
