"""The process launcher brings real processes up, or says why it could not."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import (
    LaunchError,
    ServerExitedError,
    ServerNotReadyError,
)
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.launchers.readiness import ProbeAnswer, http_probe
from tests.jumping_clock import JumpingClock
from tests.processes import ended, runs
from tests.tiny_server import LAST_WORD, RUNAWAY, noted_pid, start_tiny, tiny_spec

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("nothing_left")]


def test_runs_apart_from_us(work: Path) -> None:
    """A server has a session and group of its own, no input, and its log in its folder."""
    server = start_tiny(work)
    pid = server.endpoint.pid
    assert pid == noted_pid(work, "server")
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    assert server.endpoint.log_path == work / "server.log"
    assert server.log_tail() == "serving"
    assert 0 < (server.endpoint.started_s or 0) < 10
    server.stop()
    assert ended(pid)
    assert server.log_tail() == "serving"


def test_environment_is_laid_over_ours(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server inherits our environment; what the spec says wins, PYTHONPATH included."""
    monkeypatch.setenv("PYTHONPATH", "ours")
    monkeypatch.setenv("SERVEBENCH_OURS", "a\nb")
    spec = tiny_spec(
        "print([os.environ.get(k) for k in ('PYTHONPATH', 'SERVEBENCH_OURS', 'PORT', 'EMPTY')])\n",
        environment={"PYTHONPATH": "theirs", "PORT": "${http_port}", "EMPTY": ""},
    )
    server = ProcessLauncher().start("tiny", spec, work)
    port = str(server.endpoint.ports["http"])
    assert server.log_tail(2).splitlines()[0] == repr(["theirs", "a\nb", port, ""])


def test_reports_an_early_end(work: Path) -> None:
    """A server that ends at start is reported within two seconds, with its code and its last word."""
    began_ns = MonotonicClock().now_ns()
    with pytest.raises(ServerExitedError) as caught:
        start_tiny(work, LAST_WORD)
    assert MonotonicClock().now_ns() - began_ns < 2e9
    assert caught.value.exit_code == 3
    assert caught.value.what == "tiny ended by itself with exit code 3 before it was ready"
    assert caught.value.where == f"log {work / 'server.log'}"
    assert caught.value.seen.endswith("I cannot find my model")
    assert "server.py" in caught.value.next_step


def test_names_the_signal_of_an_early_end(work: Path) -> None:
    """A server that a signal ended is reported by the signal's name."""
    with pytest.raises(ServerExitedError, match="with signal SIGSEGV before") as caught:
        start_tiny(work, "os.kill(os.getpid(), 11)\n")
    assert caught.value.exit_code == -signal.SIGSEGV


def test_an_early_end_takes_the_children_along(work: Path) -> None:
    """What a server had started before it ended at start is ended too, before the error leaves."""
    with pytest.raises(ServerExitedError):
        start_tiny(work, RUNAWAY + LAST_WORD, grace_s=0.1)
    assert not runs(noted_pid(work, "child"))


def test_gives_up_at_the_deadline(work: Path) -> None:
    """A server that stays busy is ended at its deadline, and the error says what it answered last."""

    def patient_probe(host: str, port: int, path: str) -> ProbeAnswer:
        answer = http_probe(host, port, path)
        while answer.status is None:
            answer = http_probe(host, port, path)
        return answer

    launcher = ProcessLauncher(clock=JumpingClock(), probe=patient_probe)
    with pytest.raises(ServerNotReadyError) as caught:
        launcher.start("tiny", tiny_spec(path="/busy", deadline_s=9), work)
    assert caught.value.what == "tiny was not ready after 9 s and was ended"
    assert re.fullmatch(r"last answer: 503 Busy; the last lines of its log:\n +serving", caught.value.seen)
    assert f"127.0.0.1:{caught.value.where.split(':')[2].split('/')[0]}/busy" in caught.value.where
    assert not runs(noted_pid(work, "server"))


def test_an_interrupt_leaves_nothing(work: Path) -> None:
    """Ctrl-C while a server comes up ends it before the interrupt goes on."""

    def interrupted(host: str, port: int, path: str) -> ProbeAnswer:
        if http_probe(host, port, path).status is None:
            return ProbeAnswer(None, "not yet")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ProcessLauncher(probe=interrupted).start("tiny", tiny_spec(), work)
    assert not runs(noted_pid(work, "server"))


def test_names_a_missing_executable(work: Path) -> None:
    """A program that is not there is an error that names it and says what to do."""
    spec = replace(tiny_spec(), argv=("no-such-server", "--port=${http_port}"))
    with pytest.raises(LaunchError) as caught:
        ProcessLauncher().start("tiny", spec, work)
    assert caught.value.what == "tiny cannot be launched: 'no-such-server' cannot be executed"
    assert caught.value.seen == "No such file or directory"
    assert caught.value.next_step == "install it, or put its folder on PATH"


def test_no_space_for_the_log(work: Path) -> None:
    """A full disk is reported before anything is started."""
    work.mkdir()
    (work / "server.log").symlink_to("/dev/full")
    with pytest.raises(LaunchError, match="its log cannot be written"):
        start_tiny(work)
    assert not (work / "server.pid").exists()
