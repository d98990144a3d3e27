"""Whole sessions whose servers run in containers, each a process of its own, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.launchers.docker.owner import HOST
from tests.engine import BASE
from tests.plugin.echo_suite import ONNX, EchoSuite

HOST_VARIABLE = "SERVEBENCH_TEST_HOST"
"""What a session takes for the name of this host: the sessions of one test clear away after no others."""
HOOKS = f"""
import os
import socket

socket.gethostname = lambda: os.environ["{HOST_VARIABLE}"]
"""
STACK = "ContainedEcho()"
IMPORTS = "from tests.contained_echo import ContainedEcho\n"
MEASURED = "measured"
GO = "go"
WAITS = """
import os
import time
from pathlib import Path
import pytest

def wait_for(name):
    end = time.monotonic() + 60
    while not Path(name).exists():
        assert time.monotonic() < end, name
        time.sleep(0.02)
"""


def within(seconds: float, holds: Callable[[], object]) -> bool:
    """Return whether something holds in time."""
    clock = MonotonicClock()
    end_ns = clock.now_ns() + round(seconds * 1e9)
    while not holds():
        if clock.now_ns() > end_ns:
            return False
        clock.sleep_s(0.05)
    return True


class DockerSessions:
    """Sessions of one suite, which take this host for one that no other test knows."""

    def __init__(self, suite: EchoSuite, engine: Any) -> None:
        self._suite = suite
        self._engine = engine
        self.host = f"test-{uuid.uuid4().hex[:12]}"
        self.output = ""
        self.before: tuple[str, ...] = ()
        """What starts their processes: words before the command."""
        self._started: list[subprocess.Popen[str]] = []

    @property
    def folder(self) -> Path:
        """Where they run."""
        return self._suite.pytester.path

    def write(self, test: str, stacks: str = STACK) -> None:
        """Have them run ``test`` with ``stacks`` on offer."""
        self._suite.write(test=WAITS + test, stacks=stacks, more=IMPORTS + HOOKS)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one in a process group of its own, as a shell would have it."""
        stack = () if any(one.startswith("--stack=") for one in arguments) else ("--stack=echo",)
        asked = self._suite.command(*stack, "--serve-launcher=docker", ONNX, *arguments)
        process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "pytest", *asked],
            cwd=self.folder,
            env={**os.environ, HOST_VARIABLE: self.host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def start_until(self, mark: str, *arguments: str) -> subprocess.Popen[str]:
        """Start one and return once its test has made the file ``mark``."""
        process = self.start(*arguments)
        within(60, lambda: (self.folder / mark).exists() or process.poll() is not None)
        if not (self.folder / mark).exists():
            process.kill()
            pytest.fail(f"it did not get so far:\n{self.finish(process)}\n{self.output}")
        return process

    def finish(self, process: subprocess.Popen[str]) -> int:
        """Return its exit code, its output kept."""
        self.output, _ = process.communicate(timeout=90)
        return process.returncode

    def run(self, *arguments: str) -> int:
        """Run one to its end and return the exit code."""
        return self.finish(self.start(*arguments))

    def containers(self, **labels: str) -> list[dict[str, Any]]:
        """Return the containers of this host with these labels, as the engine lists them, in any state."""
        wanted = {HOST: self.host, **{f"servebench.{key}": text for key, text in labels.items()}}
        filters = {"label": [f"{key}={text}" for key, text in wanted.items()]}
        found: list[dict[str, Any]] = self._engine.api.containers(all=True, filters=filters)
        return found

    def put(self, labels: dict[str, str], seconds: int = 60) -> str:
        """Start a container with these labels that ends by itself after a while, and return its id."""
        container = self._engine.containers.run(
            BASE, ["sleep", str(seconds)], labels=labels, network_mode="none", detach=True
        )
        return str(container.id)

    def there(self, ids: Sequence[str]) -> list[str]:
        """Return those of these containers that there still are."""
        found = {one["Id"] for one in self._engine.api.containers(all=True)}
        return [one for one in ids if one in found]

    def end(self) -> None:
        """Kill those that still run, and remove all containers of this host."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        self.remove()

    def remove(self, *ids: str) -> None:
        """Remove these containers, and all of this host."""
        for one in {*ids, *(found["Id"] for found in self.containers())}:
            self._engine.api.remove_container(one, force=True, v=True)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes of a session's pytest-xdist workers."""
    return [one.pid for one in psutil.Process(process.pid).children()]
