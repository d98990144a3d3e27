"""What every driver does in an open loop: arrivals do not wait, and none is lost or counted twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.arrivals import Constant, Poisson, Replay, Stage, Staged
from pytest_servebench.errors import LoadError
from pytest_servebench.load.arrivals import schedule
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.options.shape import shaped
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Progress, Validity
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.statistics.summary import summarise, validity_of
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer, SeenRequest

MS = 1_000_000
LOAD = Load(arrivals=Constant(200), warmup_s=0.1, duration_s=0.5, timeout_s=5.0, verify_share=0.05)
QUICK = ScriptedReply(delay_s=0.002)


class Onlooker:
    """A watch that says of the server what it is told to say."""

    def __init__(self, gone: Callable[[], str | None] = lambda: None) -> None:
        self.seen: list[Progress] = []
        self._gone = gone

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def server_gone(self) -> str | None:
        return self._gone()


def run(server: ScriptedServer, load: Load = LOAD, watch: Onlooker | None = None) -> Samples:
    """Run the load against the server, with three distinct requests of 100 bytes."""
    bodies = [f"{i}:".encode().ljust(100, b".") for i in range(3)]
    requests = [WireRequest(protocol=WireProtocol.HTTP, path="/", body=body) for body in bodies]
    return LoadDriver().run(server.endpoint(), requests, load, watch or Onlooker())


def count(samples: Samples, outcome: Outcome) -> int:
    """Return how often ``outcome`` is among the samples."""
    return int((samples.outcome == outcome).sum())


def assert_on_schedule(samples: Samples, load: Load) -> None:
    """Check that what was due up to the window's end is there once, at its instant, and nothing else."""
    assert load.arrivals is not None
    intended = np.sort(samples.intended_ns)
    due = (int(one) for part in schedule(load.arrivals, load.seed) for one in part)
    offsets = np.fromiter(islice(due, len(samples) + 1), dtype=np.int64)
    start_ns = intended[0] - offsets[0]
    assert np.array_equal(intended, start_ns + offsets[: len(samples)])
    # at the window's end everything due by then is sent: the clock is read a little after that end
    assert intended[-1] <= samples.window_ns[1] + 5 * MS
    assert np.all(start_ns + offsets[len(samples) :] > samples.window_ns[1])


def assert_sound(samples: Samples) -> None:
    """Check that times are in order, and that only what was dropped was not sent."""
    sent = samples.sent_ns >= 0
    assert np.array_equal(~sent, samples.outcome == Outcome.DROPPED)
    assert np.all(samples.sent_ns[sent] >= samples.intended_ns[sent])
    assert np.all(samples.received_ns[sent] >= samples.sent_ns[sent])
    assert np.all(samples.received_ns[~sent] == -1)
    assert all(samples.outcome[i] == Outcome.OK for i in samples.replies)


@pytest.mark.parametrize(
    "arrivals",
    [
        Constant(200),
        Poisson(200),
        Staged(stages=(Stage(0.3, 300), Stage(0.3, 100))),
        Staged(stages=(Stage(0.3, 300), Stage(0.3, 100)), random=True),
    ],
    ids=str,
)
def test_arrivals_are_those_of_the_schedule(arrivals: Constant | Poisson | Staged) -> None:
    """Each arrival is sent once, at its instant or after; warm-up is the first part of the same schedule."""
    load = replace(LOAD, arrivals=arrivals, seed=5)
    with ScriptedServer(QUICK) as server:
        samples = run(server, load)
        assert count(samples, Outcome.OK) == len(samples) == len(server.requests)
    assert_sound(samples)
    assert_on_schedule(samples, load)
    begin, end = samples.window_ns
    assert begin - samples.intended_ns.min() == pytest.approx(100 * MS, abs=60 * MS)
    assert end - begin == pytest.approx(500 * MS, rel=0.2)
    assert np.array_equal(samples.request_index, np.arange(len(samples)) % 3)
    assert samples.client_cpu_s > 0


def test_a_trace_is_sent_as_it_was_recorded(tmp_path: Path) -> None:
    """Bursts and all: ten at once, a pause, and one more; the last lies inside the window."""
    (tmp_path / "trace.txt").write_text("0.01\n" * 10 + "0.25\n")
    load = shaped(
        replace(LOAD, arrivals=Replay(path=tmp_path / "trace.txt", length_s=0.25), warmup_s=0.0), timed=False
    )
    with ScriptedServer(ScriptedReply(delay_s=0.05)) as server:
        samples = run(server, load)
        assert server.connections == 10
    assert_on_schedule(samples, load)
    assert count(samples, Outcome.OK) == len(samples) == 11


def test_a_stall_of_the_server_is_felt_by_all_that_arrived_meanwhile() -> None:
    """A server that answers nobody for 300 ms is slow for all that arrived meanwhile: nobody waits to ask."""
    stall_until_ns = 0
    lock = threading.Lock()

    def stalling(seen: SeenRequest) -> ScriptedReply:
        nonlocal stall_until_ns
        with lock:
            if seen.number == 50:
                stall_until_ns = seen.arrived_ns + 300 * MS
            left_s = max(0.0, (stall_until_ns - seen.arrived_ns) / 1e9)
        return ScriptedReply(delay_s=left_s + 0.001)

    with ScriptedServer(stalling) as server:
        samples = run(server, replace(LOAD, duration_s=1.0))
    assert count(samples, Outcome.OK) == len(samples)
    response_ms = (samples.received_ns - samples.intended_ns) / 1e6
    # 200 a second for 300 ms: 60 arrivals are held up, evenly from 300 ms down to nothing.
    assert np.count_nonzero(response_ms > 150) == pytest.approx(30, abs=8)
    assert response_ms.max() == pytest.approx(301, abs=60)


def test_a_client_that_is_held_up_shows_in_response_times_and_not_in_service_times() -> None:
    """What the client owes to the schedule counts against the response, so nothing is omitted."""

    class Dawdling(Onlooker):
        def progress(self, progress: Progress) -> None:
            super().progress(progress)
            if len(self.seen) == 2:
                time.sleep(0.3)  # what is tested is a stall of the client itself

    load = replace(LOAD, duration_s=1.0, warmup_s=0.0)
    with ScriptedServer(QUICK) as server:
        samples = run(server, load, Dawdling())
    assert_on_schedule(samples, load)
    lag_ms = (samples.sent_ns - samples.intended_ns) / 1e6
    late = lag_ms > 150
    assert np.count_nonzero(late) == pytest.approx(30, abs=8)
    response_ms = (samples.received_ns - samples.intended_ns) / 1e6
    assert np.all(response_ms[late] > 150)
    summary = summarise(samples, items_per_request=1, timeout_s=5.0, open_loop=True)
    assert summary.send_lag_p99_ms is not None
    assert summary.send_lag_p99_ms > 200
    assert summary.service_time_p50_ms is not None
    assert summary.service_time_p50_ms < 60
    validity, reason = validity_of(summary, samples, load=load)
    assert validity is Validity.CLIENT_LIMITED
    assert "the client sent late: p99 send lag" in reason


def test_an_arrival_beyond_the_cap_is_dropped_with_its_instant_and_never_sent() -> None:
    """With 3 slots and replies of 100 ms, 30 requests a second pass; the others are counted, not queued."""
    load = replace(LOAD, max_in_flight=3)
    with ScriptedServer(ScriptedReply(delay_s=0.1)) as server:
        samples = run(server, load)
        assert server.connections == 3
        assert len(server.requests) == len(samples) - count(samples, Outcome.DROPPED)
    assert_sound(samples)
    assert_on_schedule(samples, load)
    assert 6 <= len(server.requests) <= 21
    assert np.all(np.diff(samples.intended_ns) > 0)
    assert samples.first_error == "an arrival was dropped: 3 requests were in flight"
    summary = summarise(samples, items_per_request=1, timeout_s=5.0, open_loop=True)
    validity, reason = validity_of(summary, samples, load=load)
    assert validity is Validity.ERRORS
    assert reason.startswith(f"{summary.dropped} of ")
    assert "because 3 requests were in flight" in reason


def test_connections_grow_with_need_and_are_used_again() -> None:
    """As many as were ever in flight at once, and the latest first: the others may rest."""
    with ScriptedServer(ScriptedReply(delay_s=0.02)) as server:
        run(server)
        assert 4 <= server.connections <= len(server.requests) / 2
        latest = [seen.connection for seen in server.requests]
    assert len(set(latest)) == server.connections


def test_nobody_listening_fails_each_arrival_without_holding_up_the_next() -> None:
    """Refused connections are errors at their own instants: the schedule goes on, and the load ends."""
    with ScriptedServer() as server:
        pass
    samples = run(server)
    assert_sound(samples)
    assert_on_schedule(samples, LOAD)
    assert count(samples, Outcome.TRANSPORT_ERROR) == len(samples)
    assert "Connection refused (ECONNREFUSED)" in samples.first_error


def test_a_silent_server_costs_a_time_out_each_and_the_load_ends() -> None:
    """What was sent times out from when it was sent; what found no room was dropped."""
    load = replace(LOAD, timeout_s=0.2, max_in_flight=20)
    with ScriptedServer(ScriptedReply(ending=Ending.SILENCE)) as server:
        samples = run(server, load)
    assert_sound(samples)
    assert_on_schedule(samples, load)
    assert set(samples.outcome.tolist()) == {Outcome.TIMEOUT, Outcome.DROPPED}
    timed_out = samples.outcome == Outcome.TIMEOUT
    spans_ns = (samples.received_ns - samples.sent_ns)[timed_out]
    assert np.all((spans_ns >= 200 * MS) & (spans_ns < 600 * MS))


def test_a_server_that_dies_ends_the_load_early_with_all_recorded() -> None:
    """The schedule ends where the load does; nothing is left without an outcome."""

    def script(seen: SeenRequest) -> ScriptedReply:
        if seen.number == 20:
            server.crash()
        return QUICK

    server = ScriptedServer(script)
    watch = Onlooker(lambda: "exit code -9" if server.gone else None)
    with server:
        samples = run(server, replace(LOAD, duration_s=60.0), watch)
    assert_sound(samples)
    begin, end = samples.window_ns
    assert end - begin < 5e9
    assert count(samples, Outcome.TRANSPORT_ERROR) >= 1
    assert count(samples, Outcome.OK) >= 15


FAULTS = [
    ScriptedReply(),
    ScriptedReply(status=500),
    ScriptedReply(chunked=True, body=b"x" * 20),
    ScriptedReply(ending=Ending.CLOSE),
    ScriptedReply(body=b"x" * 100, ending=Ending.CUT),
    ScriptedReply(body=b"", ending=Ending.RESET),
    ScriptedReply(ending=Ending.SILENCE),
    ScriptedReply(raw=b"garbage"),
    ScriptedReply(delay_s=0.03),
]


@settings(max_examples=12)
@given(
    st.lists(st.sampled_from(FAULTS), min_size=1, max_size=8),
    st.integers(1, 5),
    st.sampled_from([Constant(150), Poisson(300), Staged(stages=(Stage(0.12, 400),), random=True)]),
)
def test_offered_is_sent_and_dropped_and_sent_is_every_outcome(
    script: list[ScriptedReply], cap: int, arrivals: Constant | Poisson | Staged
) -> None:
    """Whatever the server does: offered = sent + dropped, and sent = correct + wrong + errors + time-outs."""
    load = replace(LOAD, arrivals=arrivals, max_in_flight=cap, warmup_s=0.0, duration_s=0.12, timeout_s=0.4)
    with ScriptedServer(script) as server:
        samples = run(server, load)
        served = [script[seen.number % len(script)] for seen in server.requests]
    assert_sound(samples)
    assert_on_schedule(samples, load)
    whole = [reply for reply in served if reply.ending in {Ending.KEEP, Ending.CLOSE} and reply.raw is None]
    silent = sum(reply.ending is Ending.SILENCE for reply in served)
    assert count(samples, Outcome.OK) == sum(reply.status == 200 for reply in whole)
    assert count(samples, Outcome.HTTP_ERROR) == sum(reply.status != 200 for reply in whole)
    assert count(samples, Outcome.TIMEOUT) == silent
    assert count(samples, Outcome.TRANSPORT_ERROR) == len(served) - len(whole) - silent
    assert len(samples) == len(served) + count(samples, Outcome.DROPPED)


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_an_impossible_open_loop_is_refused_in_words(protocol: WireProtocol) -> None:
    """What can not be sent at all is a LoadError before anything is sent."""
    words = "needs room for at least one request in flight"
    requests = [WireRequest(protocol=protocol, path="/", body=b"")]
    with ScriptedServer() as server, pytest.raises(LoadError, match=words):
        LoadDriver().run(server.endpoint(), requests, replace(LOAD, max_in_flight=0), Onlooker())
