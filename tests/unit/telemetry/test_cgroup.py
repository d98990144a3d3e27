"""A cgroup is found and read in both layouts of Linux, and what cannot be seen is not made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.telemetry.cgroup import Cgroup, Throttling, cgroup_of, cgroup_of_container
from pytest_servebench.telemetry.container import CgroupProbe
from tests.jumping_clock import JumpingClock

ID = "3f5c" * 16
SECOND = 10**9


def put(folder: Path, **files: str) -> Path:
    """Write files into a folder, ``__`` standing for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")
    return folder


class Machine:
    """A made-up machine: where cgroups are mounted, and which process is in which."""

    def __init__(self, root: Path, *, v2: bool, mounted_root: str = "/") -> None:
        self.fs, self.proc, self.mounts, self.v2 = root / "a cgroup", root / "proc", root / "mountinfo", v2
        escaped = str(self.fs).replace(" ", "\\040")
        lines = ["21 1 0:19 / /proc rw - proc proc rw"]
        if v2:
            lines.append(f"31 23 0:28 {mounted_root} {escaped} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate")
        else:
            each = ("cpu,cpuacct", "memory")
            lines += [
                f"3{i} 23 0:2{i} {mounted_root} {escaped}/{name} rw shared:9 - cgroup cgroup rw,{name}"
                for i, name in enumerate(each)
            ]
            lines.append(f"39 23 0:29 / {escaped}/unified rw - cgroup2 cgroup2 rw")
            (self.fs / "unified").mkdir(parents=True)
        self.fs.mkdir(exist_ok=True)
        self.mounts.write_text("\n".join(lines) + "\n")

    def process(self, pid: int, path: str) -> None:
        """Put a process into the cgroup of this path."""
        lines = f"0::{path}\n" if self.v2 else f"4:memory:{path}\n3:cpu,cpuacct:{path}\n0::/\n"
        put(self.proc / str(pid), cgroup=lines.rstrip())

    def use(self, path: str, cpu_s: float, charged: int, idle: int, *pids: int) -> None:
        """Have the cgroup of this path have used so much."""
        procs = "\n".join(map(str, pids))
        if self.v2:
            put(
                self.fs / path,
                cpu__stat=f"usage_usec {round(cpu_s * 1e6)}\nuser_usec 1",
                memory__current=str(charged),
                memory__stat=f"anon 1\ninactive_file {idle}",
                cgroup__procs=procs,
            )
            return
        cpu = put(self.fs / "cpu,cpuacct" / path, cpuacct__usage=str(round(cpu_s * 1e9)), cgroup__procs=procs)
        put(cpu, cpu__stat="nr_periods 0\nnr_throttled 0\nthrottled_time 0")
        put(
            self.fs / "memory" / path,
            memory__usage_in_bytes=str(charged),
            memory__stat=f"inactive_file 1\ntotal_inactive_file {idle}",
            cgroup__procs=procs,
        )

    def cgroup_of(self, pid: int, container: str = "") -> Cgroup | None:
        """Return what is found of a process."""
        return cgroup_of(pid, container=container, proc=self.proc, mounts=self.mounts)


@pytest.fixture(params=[True, False], ids=["v2", "v1"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Return a machine of either layout."""
    return Machine(tmp_path, v2=request.param)


def test_a_container_is_read_by_its_cgroup(machine: Machine) -> None:
    """CPU seconds, memory less the idle page cache, and the processes in it."""
    path = f"docker/{ID}"
    machine.process(71, f"/{path}")
    machine.use(path, 12.5, 900, 200, 71, 72)
    found = machine.cgroup_of(71, ID)
    assert found is not None
    assert found.is_accounted
    assert (found.cpu_s(), found.memory_bytes()) == (12.5, 700)
    assert found.pids() == {71, 72}
    assert found.throttling() == {}


def test_what_a_container_makes_inside_belongs_to_it(machine: Machine) -> None:
    """A first process in a cgroup of its own, as of systemd, does not hide the container's others."""
    path = f"system.slice/docker-{ID}.scope"
    machine.process(71, f"/{path}/init.scope")
    machine.use(path, 3, 100, 0)
    machine.use(f"{path}/init.scope", 1, 10, 0)
    found = machine.cgroup_of(71, ID)
    assert found is not None
    assert found.cpu_s() == 3


@pytest.mark.parametrize(
    "place", ["docker/{}", "system.slice/docker-{}.scope", "machine.slice/libpod-{}.scope"]
)
def test_a_container_without_a_process_is_found_by_its_id(machine: Machine, place: str) -> None:
    """An engine whose processes are not seen from here may still show its cgroups."""
    machine.use(place.format(ID), 2, 5, 1)
    found = cgroup_of_container(ID, mounts=machine.mounts)
    assert found is not None
    assert found.cpu_s() == 2
    assert cgroup_of_container("0" * 64, mounts=machine.mounts) is None


def test_memory_is_never_below_nothing(machine: Machine) -> None:
    """Two files are read one after the other: a cache that shrank meanwhile is not subtracted."""
    machine.process(71, "/one")
    machine.use("one", 1, 50, 60)
    found = machine.cgroup_of(71)
    assert found is not None
    assert found.memory_bytes() == 50


def test_a_cgroup_outside_of_what_is_mounted_is_not_seen(tmp_path: Path) -> None:
    """In a container only a part is mounted: what lies beside it has no figures."""
    inner = Machine(tmp_path, v2=True, mounted_root="/docker/mine")
    inner.process(71, "/docker/mine/server")
    inner.process(72, "/docker/other")
    inner.process(73, "/../other")
    inner.use("server", 4, 5, 0)
    found = inner.cgroup_of(71)
    assert found is not None
    assert found.cpu_s() == 4
    assert (inner.cgroup_of(72), inner.cgroup_of(73), inner.cgroup_of(99)) == (None, None, None)


def test_a_limit_above_it_holds_it_back_too(machine: Machine) -> None:
    """In a pod it is the pod's limit that throttles; what was never limited has no figure."""
    machine.process(71, "/pod/one")
    machine.use("pod/one", 1, 1, 0)
    machine.use("pod", 1, 1, 0)
    cpu = machine.fs if machine.v2 else machine.fs / "cpu,cpuacct"
    usage = "usage_usec 1\n" if machine.v2 else ""
    put(cpu / "pod", cpu__stat=f"{usage}nr_periods 200\nnr_throttled 30")
    found = machine.cgroup_of(71)
    assert found is not None
    assert found.throttling() == {cpu / "pod": Throttling(periods=200, throttled=30)}


def test_a_window_has_what_was_used_inside_it(machine: Machine) -> None:
    """CPU seconds are a difference, memory the highest seen; scope and kind are named."""
    machine.process(71, "/one")
    clock, found = JumpingClock(), None
    for at, (cpu_s, charged) in enumerate([(5.0, 100), (6.0, 300), (9.0, 200), (9.5, 900)]):
        machine.use("one", cpu_s, charged, 0, 71)
        found = found or CgroupProbe(_not_none(machine.cgroup_of(71)), clock)
        if at < 3:
            found.sample()
            clock.sleep_s(1)
    assert found is not None
    reading = found.window(round(0.5 * SECOND), 2 * SECOND)
    assert reading.cpu_s == pytest.approx(3.5)
    assert reading.cpu_cores == pytest.approx(3.5 / 1.5)
    assert (reading.memory_bytes, reading.memory_kind, reading.scope) == (300, "cgroup", "cgroup")
    assert reading.absent == {}
    assert found.pids() == {71}


def test_a_container_that_ended_has_no_figures(machine: Machine) -> None:
    """Its cgroup is gone with it: the reason says that, and nothing raises."""
    machine.process(71, "/one")
    machine.use("one", 1, 1, 0)
    found = _not_none(machine.cgroup_of(71))
    clock = JumpingClock()
    probe = CgroupProbe(found, clock)
    assert probe.sample()
    for folder in filter(None, {found.cpu, found.usage, found.memory}):
        folder.rename(folder.with_name(f"{folder.name} gone"))
    clock.sleep_s(1)
    assert not probe.sample()
    reading = probe.window(0, SECOND)
    assert (reading.cpu_s, reading.memory_bytes) == (None, None)
    assert reading.absent["server_cpu_s"].startswith("the cgroup of its container cannot be read: ")


def _not_none(found: Cgroup | None) -> Cgroup:
    assert found is not None
    return found
