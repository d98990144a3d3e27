"""Two workers against a scripted server: one load, one result, and trouble that names its worker."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import LoadError
from pytest_servebench.load import gateways, team
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.load.team import sum_of
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Progress
from pytest_servebench.samples import Outcome, Samples, Slice
from pytest_servebench.testing.server import Ending, ScriptedReply, ScriptedServer
from tests.contract.test_grpc_driver import METHOD, serving
from tests.contract.test_grpc_driver import echo as grpc_echo
from tests.contract.test_open_loop import assert_on_schedule
from tests.loads import SHORT, STEADY, Onlooker, echo, mortal, outcomes, posts
from tests.processes import ended

PYTHON = shlex.quote(sys.executable)
TWO = replace(SHORT, workers=("popen", "popen"), duration_s=0.4)
LONG = replace(TWO, duration_s=20.0)


@pytest.fixture(scope="module")
def driver() -> Iterator[LoadDriver]:
    """Return a driver whose workers stay open from test to test, as in a session."""
    one = LoadDriver()
    yield one
    pids = pids_of(one)
    one.close()
    one.close()
    assert ended(*pids)


def pids_of(driver: LoadDriver) -> list[int]:
    """Return the process ids of the workers that are open, by their number."""
    return [int(one.facts["pid"]) for _, one in sorted(driver._workers._open.items())]


def load(
    driver: LoadDriver, server: ScriptedServer, asked: Load = TWO, watch: Onlooker | None = None
) -> Samples:
    """Run the load with five distinct requests."""
    return driver.run(server.endpoint(), posts(5), asked, watch or Onlooker())


def assert_in_order(samples: Samples) -> None:
    """Check that requests stand in order of sending, and that the workers went over at one instant."""
    begin, end = samples.window_ns
    assert 0.3e9 < end - begin < 0.6e9
    assert np.all(np.diff(samples.sent_ns) >= 0)
    assert np.all(samples.received_ns >= samples.sent_ns)
    assert np.array_equal(samples.intended_ns, samples.sent_ns)
    assert samples.sent_ns[-1] < end + 0.3e9


def during(driver: LoadDriver, what: Callable[[list[int]], None]) -> Onlooker:
    """Return a watch that does something to the workers once, while they send."""
    done = threading.Event()

    class Saboteur(Onlooker):
        def progress(self, progress: Progress) -> None:
            super().progress(progress)
            if not done.is_set():
                done.set()
                what(pids_of(driver))

    return Saboteur()


def test_two_workers_make_one_load(driver: LoadDriver) -> None:
    """Every request once, answered by its own reply, from both workers, within one window."""
    with ScriptedServer(echo) as server:
        samples = load(driver, server, replace(TWO, concurrency=5))
        assert_in_order(samples)
        assert outcomes(samples) == {Outcome.OK: len(samples)}
        assert len(server.requests) == len(samples)
    assert server.connections == 5
    assert [one.worker for one in samples.clients] == ["1:popen", "2:popen"]
    begin, end = samples.window_ns
    assert (
        sum(one.sent for one in samples.clients)
        == ((samples.sent_ns > begin) & (samples.sent_ns <= end)).sum()
    )
    assert all(one.sent and one.client_cpu_s > 0 for one in samples.clients)
    assert {one.clock_uncertainty_ns for one in samples.clients} == {0}
    assert samples.client_cpu_s == sum(one.client_cpu_s for one in samples.clients)
    for at, reply in samples.replies.items():
        assert int(reply.body) == samples.request_index[at]
    assert len(samples.replies) >= 8


def test_arrivals_are_those_of_the_schedule(driver: LoadDriver) -> None:
    """Two workers intend what one would have: every arrival once, at its instant from one start."""
    asked = replace(TWO, arrivals=Poisson(200), warmup_s=0.1)
    with ScriptedServer(STEADY) as server:
        samples = load(driver, server, asked)
    assert_on_schedule(samples, asked)
    assert np.all(samples.sent_ns >= samples.intended_ns)
    assert min(one.sent for one in samples.clients) > 10


def test_progress_is_the_sum(driver: LoadDriver) -> None:
    """A person sees one load, not two."""
    watch = Onlooker()
    with ScriptedServer(STEADY) as server:
        samples = load(driver, server, replace(TWO, duration_s=0.8), watch)
    assert watch.seen
    assert [one.completed for one in watch.seen] == sorted(one.completed for one in watch.seen)
    assert watch.seen[-1].completed <= len(samples)
    each = Progress(
        stage="measuring",
        elapsed_s=1.0,
        remaining_s=2.0,
        completed=3,
        errors=1,
        throughput_per_s=10.0,
        response_time_p95_ms=5.0,
    )
    late = replace(each, elapsed_s=1.5, response_time_p95_ms=None)
    assert sum_of([each, late]) == replace(each, elapsed_s=1.5, completed=6, errors=2, throughput_per_s=20.0)


def test_workers_are_reused(driver: LoadDriver) -> None:
    """Starting one takes longer than a short load: the next case finds them there."""
    with ScriptedServer(STEADY) as server:
        load(driver, server)
        before = pids_of(driver)
        load(driver, server)
    assert pids_of(driver) == before
    assert os.getpid() not in before


def test_a_worker_that_is_killed_is_named(driver: LoadDriver) -> None:
    """Soon, with its end; the other one lives on, and the next load has two again."""
    with ScriptedServer(STEADY) as server:
        load(driver, server)
        first, second = pids_of(driver)
        with pytest.raises(LoadError) as caught:
            load(driver, server, LONG, during(driver, lambda pids: os.kill(pids[0], signal.SIGKILL)))
        assert caught.value.what == "Worker 1:popen ended in the middle of the load."
        assert caught.value.seen == "it ended by signal SIGKILL"
        samples = load(driver, server)
    assert outcomes(samples) == {Outcome.OK: len(samples)}
    assert second in pids_of(driver)
    assert first not in pids_of(driver)
    assert len(samples.clients) == 2


def test_a_worker_that_hangs_is_named_and_killed(driver: LoadDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process says nothing and ends nothing: silence is enough to give it up."""
    monkeypatch.setattr(team, "SILENCE_S", 2.0)
    with ScriptedServer(STEADY) as server:
        load(driver, server)
        stopped = pids_of(driver)[1]
        began_ns = MonotonicClock().now_ns()
        with pytest.raises(LoadError) as caught:
            load(driver, server, LONG, during(driver, lambda _: os.kill(stopped, signal.SIGSTOP)))
        assert MonotonicClock().now_ns() - began_ns < 15e9
        assert caught.value.what == "Worker 2:popen did not come to its end."
        assert caught.value.seen.endswith(f"process {stopped} is there and stopped")
        assert ended(stopped)
        assert outcomes(load(driver, server)).keys() == {Outcome.OK}


def test_a_worker_that_dies_between_loads_is_started_anew(driver: LoadDriver) -> None:
    """Nobody was measuring: nothing is lost, and nobody needs to know."""
    with ScriptedServer(STEADY) as server:
        load(driver, server)
        killed = pids_of(driver)[0]
        os.kill(killed, signal.SIGKILL)
        assert ended(killed)
        gateway = driver._workers._open["1:popen"]
        for _ in range(500):
            if not gateway.ended:
                MonotonicClock().sleep_s(0.01)
        assert gateway.ended
        assert outcomes(load(driver, server)).keys() == {Outcome.OK}


def test_what_a_worker_cannot_do_is_told_as_its_own(driver: LoadDriver) -> None:
    """An error inside a worker is the controller's, by name; the workers can be used again."""
    with ScriptedServer(STEADY) as server:
        load(driver, server)
        before = pids_of(driver)
        no_port = replace(server.endpoint(), ports={"other": 1})
        with pytest.raises(LoadError, match=r"Worker \d:popen: The server has no http port"):
            driver.run(no_port, posts(2), TWO, Onlooker())
        load(driver, server)
    assert pids_of(driver) == before


def test_a_server_that_dies_ends_all_workers(driver: LoadDriver) -> None:
    """One worker's errors make the controller look; then every worker stops, long before the load's end."""
    server = mortal(lives_for=60)
    watch = Onlooker(lambda: "it was told to die" if server.gone else None)
    with server:
        samples = load(driver, server, LONG, watch)
    assert watch.asked >= 1
    begin, end = samples.window_ns
    assert 0 < end - begin < 10e9
    assert samples.first_error.startswith("worker ")
    assert Outcome.TRANSPORT_ERROR in outcomes(samples)


def test_time_outs_are_the_requests_and_not_the_workers(driver: LoadDriver) -> None:
    """A server that is silent makes a long drain, not a lost worker."""
    with ScriptedServer(ScriptedReply(ending=Ending.SILENCE)) as server:
        samples = load(driver, server, replace(TWO, timeout_s=1.0))
    assert outcomes(samples).keys() == {Outcome.TIMEOUT}


@pytest.mark.parametrize(
    ("spec", "what", "seen"),
    [
        ("popen//python=/nowhere/python", "cannot be started", "/nowhere/python"),
        ("popen//python=sh -c 'echo too bad >&2; exit 3'", "cannot be started", "too bad"),
        (f"popen//python={PYTHON} -I -S", "has no pytest-servebench of its own", "No module named"),
    ],
)
def test_a_worker_that_cannot_be_is_named(driver: LoadDriver, spec: str, what: str, seen: str) -> None:
    """With what was tried and what it said; the others are none the worse."""
    with ScriptedServer(STEADY) as server:
        with pytest.raises(LoadError) as caught:
            load(driver, server, replace(TWO, workers=("popen", spec)))
        assert caught.value.what == f"Worker 2:{spec} {what}."
        assert seen in caught.value.seen
        assert outcomes(load(driver, server)).keys() == {Outcome.OK}


def test_the_missing_package_is_told_with_the_command(driver: LoadDriver) -> None:
    """What has to be typed there, with that host's Python and this version."""
    spec = f"popen//python={PYTHON} -I -S"
    with ScriptedServer(STEADY) as server, pytest.raises(LoadError) as caught:
        load(driver, server, replace(TWO, workers=(spec,)))
    assert f"{PYTHON} -m pip install pytest-servebench" in caught.value.next_step


def test_another_version_is_refused(driver: LoadDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions may not mean the same by one word: told with host, both versions and the command."""
    monkeypatch.setattr(gateways, "package_version", lambda: "9.9")
    with ScriptedServer(STEADY) as server, pytest.raises(LoadError) as caught:
        load(driver, server, replace(TWO, workers=("popen//nice=1",)))
    assert caught.value.what == "Worker 1:popen//nice=1 has another version of pytest-servebench."
    assert "9.9 here" in caught.value.seen
    assert "pip install pytest-servebench==9.9" in caught.value.next_step


def test_one_that_never_comes_up_is_given_up(
    driver: LoadDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A host that takes the connection and says nothing holds nobody up, and leaves no process."""
    monkeypatch.setattr(gateways, "OPEN_S", 1.0)
    mark = tmp_path / "pid"
    spec = f"popen//python=sh -c 'echo $$ > {mark}; exec sleep 600'"
    with (
        ScriptedServer(STEADY) as server,
        pytest.raises(LoadError, match=r"nothing within 1 s; process \d+ is there"),
    ):
        load(driver, server, replace(TWO, workers=(spec,)))
    assert ended(int(mark.read_text()))


SSH = """\
import os, sys
with open({seen!r}, "a") as file:
    print(*sys.argv[1:-1], file=file)
os.execvp("sh", ["sh", "-c", sys.argv[-1]])
"""


def test_a_far_worker_is_started_by_ssh(
    driver: LoadDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the ssh of PATH, which must never wait for a person, and with the Python that was named."""
    ssh, seen = tmp_path / "ssh", tmp_path / "seen"
    script = tmp_path / "ssh.py"
    script.write_text(SSH.format(seen=str(seen)))
    # A first line with the Python's own path in it could not have a space.
    ssh.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    spec = f"ssh=bench@far//python={PYTHON}"
    with ScriptedServer(STEADY) as server:
        samples = load(driver, server, replace(TWO, workers=("popen", spec)))
    assert outcomes(samples) == {Outcome.OK: len(samples)}
    assert samples.clients[1].worker == f"2:{spec}"
    assert samples.clients[1].sent > 0
    assert seen.read_text() == "-C -o BatchMode=yes -o ConnectTimeout=10 bench@far\n"


STEERED = replace(TWO, warmup_s=20.0, duration_s=20.0)


class Scripted:
    """A helm that ends either stage after so many slices."""

    def __init__(self, warm_up: int, window: int) -> None:
        self.seen: list[int] = []
        self._after = (warm_up, window)

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return self._go(slices, now_ns, self._after[0])

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return self._go(slices, now_ns, self._after[1])

    def _go(self, slices: Sequence[Slice], now_ns: int, after: int) -> int | None:
        self.seen.append(sum(one.correct for one in slices))
        return now_ns if len(slices) >= after else None


def test_stages_end_for_all_workers_at_one_instant(driver: LoadDriver) -> None:
    """One helm sees the slices of all, and what it decides makes one window, to the nanosecond."""
    helm = Scripted(3, 5)
    with ScriptedServer(STEADY) as server:
        samples = driver.run(server.endpoint(), posts(5), STEERED, Onlooker(), helm)
    begin, end = samples.window_ns
    assert samples.started_ns is not None
    assert 0.3e9 <= begin - samples.started_ns < 10e9
    assert 0.5e9 <= end - begin < 10e9
    edges = {one.begin_ns for one in samples.slices} | {samples.slices[-1].end_ns}
    assert {samples.started_ns, begin, end} <= edges
    assert max(helm.seen) > 50
    assert sum(one.sent for one in samples.clients) > 0


def test_grpc_is_sent_by_workers_too(driver: LoadDriver) -> None:
    """Channels are opened in the workers, and each reply is that of its own message."""
    bodies = [f"{number}:".encode() for number in range(3)]
    requests = [
        WireRequest(protocol=WireProtocol.GRPC, path=METHOD, body=body, port_role="grpc") for body in bodies
    ]
    with serving(grpc_echo) as server:
        samples = driver.run(server.endpoint(), requests, TWO, Onlooker())
    assert outcomes(samples) == {Outcome.OK: len(samples)}
    assert server.calls == len(samples)
    for at, reply in samples.replies.items():
        assert int(reply.body) == samples.request_index[at]
