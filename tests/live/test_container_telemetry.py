"""A server in a real container is read by its cgroup, beside a load, and held against the engine's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.containers import ContainerSettings
from pytest_servebench.launchers.docker import DockerLauncher
from pytest_servebench.plan import CPU
from pytest_servebench.results import Endpoint, Telemetry
from pytest_servebench.telemetry.beside import machine_beside
from pytest_servebench.telemetry.cgroup import cgroup_of, cgroup_of_container
from tests.tiny_container import container_spec

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.usefixtures("label")]

BURN = "import time\nwhile time.process_time() < {s}: pass"
MIB = 2**20


def brought_up(label: dict[str, str], work: Path, **settings: Any) -> Endpoint:
    """Return where a tiny server answers, in a container of its own."""
    launcher = DockerLauncher(settings=ContainerSettings(**settings), labels=label)
    return launcher.start("tiny", container_spec(), work).endpoint


def beside(client: Any, endpoint: Endpoint, python: str) -> Telemetry:
    """Return what is read beside a Python program that runs in the server's container."""
    clock = MonotonicClock()
    with machine_beside(endpoint, CPU, clock) as reading:
        begin_ns = clock.now_ns()
        exit_code, output = client.containers.get(endpoint.container.id).exec_run(["python3", "-c", python])  # type: ignore[union-attr]
        assert exit_code == 0, output
        return reading((begin_ns, clock.now_ns()))


def test_the_whole_container_is_read(client: Any, label: dict[str, str], work: Path) -> None:
    """A process that is no child of the server's counts too; memory is what the engine's own figures say."""
    endpoint = brought_up(label, work)
    assert endpoint.container is not None
    telemetry = beside(client, endpoint, BURN.format(s=0.5))
    assert (telemetry.server_scope, telemetry.server_memory_kind) == ("cgroup", "cgroup")
    assert telemetry.server_cpu_s is not None
    assert telemetry.server_cpu_s > 0.4
    assert (telemetry.client_cpu_s or 0) < telemetry.server_cpu_s
    assert telemetry.other_cpu_cores is not None or "other_cpu_cores" in telemetry.absent
    stats = client.api.stats(endpoint.container.id, stream=False)["memory_stats"]
    idle = stats["stats"].get("total_inactive_file", stats["stats"].get("inactive_file", 0))
    assert telemetry.server_memory_bytes == pytest.approx(stats["usage"] - idle, abs=16 * MIB)


def test_its_processes_are_numbered_as_this_machine_does(
    client: Any, label: dict[str, str], work: Path
) -> None:
    """The driver of a GPU counts processes so, not as the container does."""
    endpoint = brought_up(label, work)
    assert endpoint.container is not None
    top = client.containers.get(endpoint.container.id).top(ps_args="-o pid")
    found = cgroup_of_container(endpoint.container.id)
    assert found is not None
    assert found.pids() == {int(row[0]) for row in top["Processes"]}
    if endpoint.pid is not None:
        by_pid = cgroup_of(endpoint.pid, container=endpoint.container.id)
        assert by_pid == found
        assert psutil.pid_exists(min(found.pids()))


def test_a_limit_that_held_it_back_is_told(client: Any, label: dict[str, str], work: Path) -> None:
    """A container of a fifth of a core that wants a whole one is held back in most of its periods."""
    endpoint = brought_up(label, work, cpus=0.2)
    telemetry = beside(client, endpoint, BURN.format(s=0.3))
    assert telemetry.server_throttled_share is not None
    assert telemetry.server_throttled_share > 0.1
    assert any("a limit of CPU time (cgroup) held the server back" in one for one in telemetry.warnings)
    assert (telemetry.server_cpu_cores or 1) < 0.5


def test_page_cache_that_nobody_needs_is_not_its_memory(
    client: Any, label: dict[str, str], work: Path
) -> None:
    """What the container wrote once to a file is given back when it is needed, and is not counted."""
    endpoint = brought_up(label, work, user="0:0")
    assert endpoint.container is not None
    program = f"open('/tmp/once', 'wb').write(bytes({80 * MIB})); import os; os.sync()"
    beside(client, endpoint, program)
    after = beside(client, endpoint, "pass")
    assert after.server_memory_bytes is not None
    assert after.server_memory_bytes < 60 * MIB
