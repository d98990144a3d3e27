"""The process launcher ends all of what it started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import (
    ServerExitedError,
)
from pytest_servebench.launchers.guarded import GuardedProcess
from pytest_servebench.launchers.process import stop_all
from tests.processes import ended, exit_code_of, runs
from tests.tiny_server import DAEMON, DEAF, LAST_WORD, RUNAWAY, noted_pid, start_tiny

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("nothing_left")]


def test_kills_what_does_not_hear_term(work: Path) -> None:
    """A server that hangs on TERM is killed after its grace."""
    server = start_tiny(work, DEAF, grace_s=0.1)
    server.stop()
    assert not runs(noted_pid(work, "server"))


def test_gives_the_grace_it_promised(work: Path) -> None:
    """A server that tidies up on TERM is not killed while its grace lasts."""
    tidy = """
import signal
def bye(*_):
    note("tidied.pid", 1)
    os._exit(0)
signal.signal(signal.SIGTERM, bye)
"""
    start_tiny(work, tidy).stop()
    assert (work / "tidied.pid").exists()


@pytest.mark.parametrize(("habit", "name"), [(RUNAWAY, "child"), (DAEMON, "daemon")])
def test_ends_who_left_the_group(work: Path, habit: str, name: str) -> None:
    """A child in a session of its own is ended too, even one whose parent is gone."""
    server = start_tiny(work, habit, grace_s=0.1)
    pid = noted_pid(work, name)
    assert os.getsid(pid) != server.endpoint.pid
    server.stop()
    assert not runs(pid)


def test_sees_a_death_in_the_middle(work: Path) -> None:
    """A server that dies later has an exit code from then on, also after the stop."""
    server = start_tiny(work)
    assert server.endpoint.pid
    assert server.exit_code() is None
    os.kill(server.endpoint.pid, signal.SIGKILL)
    assert exit_code_of(server) == -signal.SIGKILL
    server.stop()
    assert server.exit_code() == -signal.SIGKILL


def test_survives_the_loss_of_its_guardian(work: Path) -> None:
    """When the guardian itself is killed the server dies with it, and a stop ends the rest."""
    server = start_tiny(work, RUNAWAY, grace_s=0.1)
    pid = noted_pid(work, "server")
    guardian = psutil.Process(pid).parent()
    assert guardian
    guardian.kill()
    assert ended(pid)
    assert exit_code_of(server) == -signal.SIGKILL
    server.stop()
    assert not runs(noted_pid(work, "child"))


def test_restarts_on_the_same_name(work: Path) -> None:
    """Two servers after each other in one folder get on, and the log keeps both."""
    for _ in range(2):
        server = start_tiny(work)
        server.stop()
        server.stop()
    assert (work / "server.log").read_text().count("# servebench starts tiny") == 2


def test_stop_all_ends_whatever_still_runs(tmp_path: Path) -> None:
    """One call ends every server of this process, deaf ones together and not one after the other."""
    for name in "abc":
        start_tiny(tmp_path / name, DEAF, grace_s=0.3)
    began_ns = MonotonicClock().now_ns()
    stop_all()
    assert MonotonicClock().now_ns() - began_ns < 0.8e9
    assert not any(runs(noted_pid(tmp_path / name, "server")) for name in "abc")


def test_leaves_no_descriptor_behind(work: Path) -> None:
    """A server that came and went leaves no open file or socket in our process."""
    start_tiny(work).stop()
    before = psutil.Process().num_fds()
    start_tiny(work).stop()
    with pytest.raises(ServerExitedError):
        start_tiny(work, LAST_WORD)
    assert psutil.Process().num_fds() == before


def test_a_stop_right_after_the_start_is_heard(work: Path) -> None:
    """TERM is not lost on a program that has only just been started: no grace is waited out."""
    argv = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]
    began_ns = MonotonicClock().now_ns()
    work.mkdir()
    with (work / "log").open("wb", buffering=0) as log:
        for _ in range(10):
            process = GuardedProcess(argv, environment={}, workdir=work, log=log, grace_s=30)
            process.wait_started()
            process.stop()
    assert MonotonicClock().now_ns() - began_ns < 5e9
