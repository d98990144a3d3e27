"""Client, server and everybody else are told apart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.telemetry.cgroup import Cgroup, Throttling
from pytest_servebench.telemetry.client import ClientProbe, apart_from
from pytest_servebench.telemetry.neighbours import (
    MachineProbe,
    busy_and_told_s,
    others_cores,
    shared_cores,
)
from tests.jumping_clock import JumpingClock

SECOND = 10**9


class Times(NamedTuple):
    """As psutil's."""

    user: float
    nice: float
    system: float
    idle: float
    iowait: float
    irq: float
    softirq: float
    steal: float


BURNER = """
import sys, time
while time.process_time() < 0.2: pass
print(1, flush=True)
sys.stdin.read()
"""


@contextmanager
def burner() -> Iterator[int]:
    """Give the id of a child of this process that has burned 0.2 s of CPU time and waits."""
    argv = [sys.executable, "-I", "-S", "-c", BURNER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def cpu_s_of(probe: ClientProbe) -> float:
    """Return the CPU time that the probe has counted so far."""
    probe.survey()
    probe.sample()
    return probe._cpu[-1][1]


def test_the_client_is_this_process_and_what_it_started_but_the_server() -> None:
    """A load worker's CPU time is the client's; the server's is not, though it is a child as well."""
    clock = MonotonicClock()
    alone = cpu_s_of(ClientProbe(None, clock))
    with burner() as worker, burner() as server:
        both = cpu_s_of(ClientProbe(None, clock))
        without = cpu_s_of(ClientProbe(server, clock))
    assert both - without >= 0.1
    assert without - alone >= 0.1
    assert worker != server


def test_a_window_of_the_client_is_a_difference() -> None:
    """What this process computed inside the window is counted, and its memory is there."""
    clock = MonotonicClock()
    probe = ClientProbe(None, clock)
    probe.start()
    began_s = sum(os.times()[:2])
    begin_ns = clock.now_ns()
    while sum(os.times()[:2]) - began_s < 0.1:
        pass
    reading = probe.window(begin_ns, clock.now_ns())
    probe.stop()
    assert reading.cpu_s is not None
    assert reading.cpu_s > 0.05
    assert (reading.memory_bytes or 0) > 10_000_000
    assert reading.absent == {}


def test_a_client_that_was_not_sampled_has_no_figures() -> None:
    """A window before the first sample is absent with the reason."""
    probe = ClientProbe(None, MonotonicClock())
    reading = probe.window(0, 1)
    assert (reading.cpu_s, reading.memory_bytes) == (None, None)
    assert set(reading.absent) == {"client_cpu_s", "client_memory_bytes"}


@pytest.mark.parametrize(
    ("server", "parents", "client"),
    [
        (None, {2: 1, 3: 2}, (2, 3)),
        (9, {2: 1, 3: 2}, (2, 3)),
        (3, {2: 1, 3: 2, 4: 1}, (4,)),
        (3, {2: 1, 3: 2, 5: 3, 6: 2, 4: 1, 7: 4}, (4, 7)),
        (2, {2: 1, 3: 2}, ()),
        (3, {2: 1, 3: 99}, (2,)),
    ],
)
def test_the_branch_that_leads_to_the_server_is_left_out(
    server: int | None, parents: dict[int, int], client: tuple[int, ...]
) -> None:
    """Its guardian is above it and its workers are below: none of them is the client's."""
    assert apart_from(server, parents, 1) == client


@given(st.dictionaries(st.integers(2, 9), st.integers(1, 9), max_size=8), st.integers(2, 9))
def test_a_tree_that_changed_while_it_was_read_ends_all_the_same(
    parents: dict[int, int], server: int
) -> None:
    """Parents that are gone or go in a circle hang nothing, and the server is never the client."""
    assert server not in apart_from(server, parents, 1)


def test_interrupts_are_nobodys_and_stolen_time_is_somebodys() -> None:
    """Busy is what programs ran, here or beside this virtual machine."""
    one = Times(1, 2, 4, 8, 16, 32, 64, 128)
    assert busy_and_told_s([one]) == (1 + 2 + 4 + 128, sum(one))
    assert busy_and_told_s([one, one]) == (2 * (1 + 2 + 4 + 128), 2 * sum(one))


@pytest.mark.parametrize(
    ("busy_s", "server_s", "client_s", "cores"),
    [(6, 2, 1, 1.5), (2.9, 2, 1, 0.0), (None, 2, 1, None), (6, None, 1, None), (6, 2, None, None)],
)
def test_others_are_what_is_left(
    busy_s: float | None, server_s: float | None, client_s: float | None, cores: float | None
) -> None:
    """All that ran less server and client; not below 0, and not known where one of the three is not."""
    assert others_cores(busy_s, server_s, client_s, 2) == cores


class Counters:
    """A machine of two cores whose counters a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy_s = [0.0, 0.0]
        self.idle_s = [0.0, 0.0]
        monkeypatch.setattr(psutil, "cpu_times", self.times)

    def times(self, *, percpu: bool = False) -> Any:
        each = [Times(b, 0, 0, i, 0, 0, 0, 0) for b, i in zip(self.busy_s, self.idle_s, strict=True)]
        return each if percpu else Times(*map(sum, zip(*each, strict=True)))


def test_only_the_cores_of_server_and_client_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A neighbour on a core that neither may use disturbs nobody."""
    machine, clock = Counters(monkeypatch), JumpingClock()
    every, first = MachineProbe((), None, clock), MachineProbe({0}, None, clock)
    for probe in (every, first):
        probe.sample()
    machine.busy_s, machine.idle_s = [0.25, 1.0], [0.75, 0.0]
    clock.sleep_s(1)
    assert first.window(0, SECOND).busy_s == pytest.approx(0.25)
    assert every.window(0, SECOND).busy_s == pytest.approx(1.25)
    assert (first.window(0, SECOND).cores, every.window(0, SECOND).cores) == (1, os.cpu_count())


def test_a_kernel_that_tells_nothing_is_not_an_idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters that stand still while time passes are no figures."""
    Counters(monkeypatch)
    clock = JumpingClock()
    probe = MachineProbe({0}, None, clock)
    probe.sample()
    clock.sleep_s(1)
    reading = probe.window(0, SECOND)
    assert reading.busy_s is None
    assert reading.absent == {"other_cpu_cores": "this kernel does not tell how busy the whole machine is"}


def test_a_window_of_some_ticks_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the counters moved in so short a time is chance, and says nothing of the kernel."""
    machine, clock = Counters(monkeypatch), JumpingClock()
    probe = MachineProbe({0}, None, clock)
    probe.sample()
    machine.busy_s = [0.02, 0.0]
    clock.sleep_s(0.02)
    reading = probe.window(0, 20_000_000)
    assert reading.busy_s is None
    assert reading.absent["other_cpu_cores"].startswith(
        "the window is too short for counters that move every "
    )


def limited(*seen: dict[str, tuple[int, int]]) -> Cgroup:
    """Return a cgroup whose limits tell these periods and throttled ones, a reading each."""
    left = [
        {Path(place): Throttling(periods=counts[0], throttled=counts[1]) for place, counts in each.items()}
        for each in seen
    ]

    class Limited(Cgroup):
        def throttling(self) -> Mapping[Path, Throttling]:
            return left.pop(0)

    return Limited()


def throttled_share(monkeypatch: pytest.MonkeyPatch, cgroup: Cgroup) -> float | None:
    """Return in which share of its periods a cgroup was held back, by two readings of it."""
    Counters(monkeypatch)
    clock = JumpingClock()
    probe = MachineProbe((), cgroup, clock)
    probe.sample()
    clock.sleep_s(1)
    return probe.window(0, SECOND).throttled_share


def test_a_limit_is_told_by_share_of_its_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Periods before the window do not count; without a limit there is no figure."""
    share = throttled_share(monkeypatch, limited({"/pod": (100, 90)}, {"/pod": (110, 94)}))
    assert share == pytest.approx(0.4)
    assert throttled_share(monkeypatch, Cgroup()) is None


def test_of_several_limits_the_one_that_held_back_in_the_window_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pod that was throttled for days hides nothing of its container, which is throttled now."""
    before = {"/pod": (90_000, 80_000), "/pod/one": (100, 10)}
    after = {"/pod": (90_010, 80_000), "/pod/one": (110, 18)}
    assert throttled_share(monkeypatch, limited(before, after)) == pytest.approx(0.8)


def test_a_limit_that_is_set_within_the_window_tells_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its periods were before nobody knows."""
    assert throttled_share(monkeypatch, limited({}, {"/pod": (10, 8)})) is None


def test_cores_are_those_of_both() -> None:
    """All cores need no list; a process that is gone leaves the machine as a whole."""
    mine = os.sched_getaffinity(0)
    whole = len(mine) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert shared_cores(os.getpid()) == (frozenset() if whole else frozenset(mine))
    assert shared_cores(2**22 + 1) == frozenset()


def test_this_machine_is_as_busy_as_this_process_makes_it() -> None:
    """The kernel's counters grow by what this process computes, or they are absent with a reason."""
    clock = MonotonicClock()
    probe = MachineProbe((), None, clock)
    probe.sample()
    begin_ns, began_s = clock.now_ns(), sum(os.times()[:2])
    while sum(os.times()[:2]) - began_s < 0.3:
        pass
    reading = probe.window(begin_ns, clock.now_ns())
    assert reading.absent or (reading.busy_s or 0) > 0.15
