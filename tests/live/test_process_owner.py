"""Servers end with the process that owns them, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from tests.processes import ended, runs
from tests.tiny_server import noted_pid

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("nothing_left")]


ROOT = Path(__file__).parents[2]

OWNER = """
import os, signal, sys
from pathlib import Path
from pytest_servebench.launchers.process import ProcessLauncher
from tests.tiny_server import DAEMON, DEAF, RUNAWAY, tiny_spec
spec = tiny_spec(DEAF + RUNAWAY + DAEMON, grace_s=0.2)
server = ProcessLauncher().start("tiny", spec, Path(sys.argv[1]))
"""


def run_owner(work: Path, then: str) -> subprocess.Popen[str]:
    """Start a process that owns a deaf server with two runaways and then does ``then``."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER) + then, str(work)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def pids(work: Path) -> tuple[int, ...]:
    """Return the process ids that the owner's server noted."""
    return tuple(noted_pid(work, name) for name in ("server", "child", "daemon"))


def test_ends_with_a_killed_owner(work: Path) -> None:
    """When our own process is killed by SIGKILL nothing of a server is left two seconds later."""
    with run_owner(work, "print('up', flush=True); signal.pause()") as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "up\n"
        guardian = psutil.Process(noted_pid(work, "server")).ppid()
        owner.kill()
    assert ended(*pids(work), guardian)


def test_ends_with_a_killed_owner_that_had_forked(work: Path) -> None:
    """A forked load worker that outlives its parent does not keep the server alive."""
    then = "pid = os.fork() or signal.pause(); print(pid, flush=True); signal.pause()"
    with run_owner(work, then) as owner:
        assert owner.stdout
        worker = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
        try:
            assert ended(*pids(work))
            assert worker.is_running()
        finally:
            worker.kill()


def test_ends_with_an_owner_that_forgets_it(work: Path) -> None:
    """A process that ends without a stop has ended its servers when it is gone."""
    with run_owner(work, "") as owner:
        assert owner.wait(5) == 0
    assert not any(map(runs, pids(work)))


def test_a_forked_copy_ends_nothing(work: Path) -> None:
    """A fork of our process that ends, or calls stop, leaves its parent's server alone."""
    then = """
pid = os.fork()
if not pid:
    server.stop()
    sys.exit(0)
os.waitpid(pid, 0)
print(server.exit_code(), Path(f"/proc/{server.endpoint.pid}").exists(), flush=True)
"""
    with run_owner(work, then) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == "None True\n"
