"""No server outlives its pytest, however that ends; and the folder is as good as new for the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from pytest_servebench.clock import MonotonicClock
from tests.echo_stack import TAG_VARIABLE
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite
from tests.processes import ended

pytestmark = pytest.mark.live

WITHIN_S = 5.0
"""How long a server may outlive its pytest: its grace after TERM is 2 s."""

AFTER_A_LOAD = """
import os
import pytest

@pytest.fixture
def broken_at_the_end():
    yield
    raise RuntimeError("in a fixture")

@pytest.mark.servebench()
def test_speed(servebench, case{fixture}):
    servebench.measure(case)
    {then}
"""
LONG = """
import sys
import pytest
from dataclasses import replace

@pytest.mark.servebench()
def test_short(servebench, case):
    servebench.measure(case)

@pytest.mark.servebench()
def test_long(servebench, case):
    open("measuring", "w").close()
    servebench.measure(replace(case, load=replace(case.load, duration_s=60)))
"""


class Session:
    """A pytest of its own, in a process group of its own as a shell would have it."""

    def __init__(self, suite: EchoSuite, tag: str) -> None:
        self._suite = suite
        self._tag = tag
        self.output = ""

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it with the echo stack and onnx."""
        command = [sys.executable, "-m", "pytest", *self._suite.command("--stack=echo", ONNX, *arguments)]
        return subprocess.Popen(
            command,
            cwd=self._suite.pytester.path,
            env={**os.environ, TAG_VARIABLE: self._tag},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> int:
        """Return its exit code, its output kept."""
        self.output, _ = process.communicate(timeout=60)
        return process.returncode

    def run(self, test: str, *arguments: str) -> int:
        """Run ``test`` to its end and return the exit code."""
        self._suite.write(test=test)
        return self.finish(self.start(*arguments))

    def start_long(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a long load and return once it has begun, its server surely up."""
        self._suite.write(test=LONG)
        mark = self._suite.pytester.path / "measuring"
        process = self.start(*arguments)
        if not _within(30, lambda: mark.exists() and self.servers()):
            process.kill()
            pytest.fail(f"no load began:\n{self.finish(process)}\n{self.output}")
        return process

    def servers(self) -> list[int]:
        """Return the process ids of its servers and their guardians that run now."""
        found = psutil.process_iter(["cmdline", "status"])
        return [
            one.pid
            for one in found
            if self._tag in (one.info["cmdline"] or ()) and one.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def nothing_left(self) -> bool:
        """Return whether every server is gone soon."""
        return _within(WITHIN_S, lambda: not self.servers())

    @property
    def saved(self) -> list[dict[str, Any]]:
        """Return the records that were saved."""
        return list(self._suite.records.values())


def _within(seconds: float, holds: Any) -> bool:
    clock = MonotonicClock()
    end_ns = clock.now_ns() + round(seconds * 1e9)
    while not holds():
        if clock.now_ns() > end_ns:
            return False
        clock.sleep_s(0.02)
    return True


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """Return a session whose servers can be told from all others; whatever is left is killed."""
    one = Session(echo_suite(pytester, monkeypatch), f"tag-{uuid.uuid4().hex}")
    yield one
    for pid in one.servers():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("fixture", "then", "exit_code"),
    [("", "pass", 0), ("", "assert not servebench", 1), (", broken_at_the_end", "pass", 1)],
    ids=["normal end", "failing test", "exception in a fixture"],
)
def test_an_ordinary_end_leaves_nothing(session: Session, fixture: str, then: str, exit_code: int) -> None:
    """When pytest has returned its servers are gone already, and the record is saved."""
    assert session.run(AFTER_A_LOAD.format(fixture=fixture, then=then)) == exit_code, session.output
    assert session.servers() == []
    assert [record["validity"] for record in session.saved] == ["valid"]


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one process", "a worker"])
def test_ctrl_c_ends_cleanly(session: Session, workers: tuple[str, ...]) -> None:
    """SIGINT to the whole group, as a terminal sends it: exit code 2, table and record of what was done."""
    process = session.start_long(*workers)
    os.killpg(process.pid, signal.SIGINT)
    assert session.finish(process) == pytest.ExitCode.INTERRUPTED, session.output
    assert session.nothing_left()
    assert "KeyboardInterrupt" in session.output
    assert "Traceback" not in session.output
    assert [record["benchmark"] for record in session.saved] == ["test_short"]
    assert "test_short: resnet50" in session.output


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one process", "a worker"])
def test_sigterm_ends_cleanly(session: Session, workers: tuple[str, ...]) -> None:
    """SIGTERM to pytest alone, as CI sends it, ends it as Ctrl-C does."""
    process = session.start_long(*workers)
    process.terminate()
    assert session.finish(process) == pytest.ExitCode.INTERRUPTED, session.output
    assert session.nothing_left()
    assert [record["benchmark"] for record in session.saved] == ["test_short"]
    assert "test_short: resnet50" in session.output


@pytest.mark.parametrize("workers", [(), ("-n1",)], ids=["one process", "a worker"])
def test_sigkill_leaves_no_server(session: Session, workers: tuple[str, ...]) -> None:
    """Not even a pytest that cannot clear up leaves its server behind."""
    process = session.start_long(*workers)
    assert session.servers()
    process.kill()
    session.finish(process)
    assert session.nothing_left()


def load_workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that send for a session."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [one.pid for one in children if any("exec(eval(sys.stdin" in word for word in one.cmdline())]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill", "term", "int"])
def test_load_workers_do_not_outlive_their_pytest(session: Session, how: signal.Signals) -> None:
    """However it ends: also those that are stopped just then, when nobody is left to wake them."""
    process = session.start_long("--serve-load-workers=2", "--serve-concurrency=2")
    assert _within(30, lambda: len(load_workers(process)) == 2)
    workers = load_workers(process)
    if how is signal.SIGKILL:
        os.kill(workers[0], signal.SIGSTOP)
    process.send_signal(how)
    session.finish(process)
    assert ended(*workers, within_s=WITHIN_S)
    assert session.nothing_left()


def test_a_worker_that_crashes_leaves_no_server(session: Session) -> None:
    """The crashed worker's server is gone, and pytest goes on to its end."""
    crash = AFTER_A_LOAD.format(fixture="", then="os._exit(9)")
    assert session.run(crash, "-n1") == pytest.ExitCode.TESTS_FAILED, session.output
    assert "worker 'gw0' crashed" in session.output
    assert session.nothing_left()


def test_it_repeats_in_the_same_folder(session: Session) -> None:
    """Also after a SIGKILL: no stale lock, no port that clashes, the same result each time."""
    process = session.start_long()
    process.kill()
    session.finish(process)
    for _ in range(2):
        assert session.run(AFTER_A_LOAD.format(fixture="", then="pass")) == 0, session.output
        assert [record["validity"] for record in session.saved] == ["valid"]
    assert session.nothing_left()


def test_two_sessions_at_once(session: Session) -> None:
    """They take turns to measure, on ports of their own, and both are valid."""
    session._suite.write(test=AFTER_A_LOAD.format(fixture="", then="pass"))
    both = [session.start(f"--benchmark-json={i}.json") for i in range(2)]
    assert [session.finish(process) for process in both] == [0, 0], session.output
    assert session.nothing_left()
