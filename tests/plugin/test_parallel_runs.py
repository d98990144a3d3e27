"""Sessions of several workers: what overlaps, what never does, and that results are those of one process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench import onlookers
from pytest_servebench.leasing.leases import Leases
from pytest_servebench.plan import Plan
from pytest_servebench.session import BenchSession
from tests.echo_house import case, deployment
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

THREE = (
    'Echo(faults=FAULTS), ControlledEcho(faults=FAULTS), ControlledEcho(name="controlled-2", faults=FAULTS)'
)
JOURNAL = """
import os
from pathlib import Path

HERE = Path(__file__).parent
FAULTS = Faults(journal=str(HERE / "journal"), **{faults})

def pytest_servebench_gate(result):
    begin_ns, end_ns = result.samples.window_ns
    with open(HERE / "windows", "a") as file:
        file.write(f"{{begin_ns}} {{end_ns}} {{os.getpid()}}\\n")
"""
TWO_GPUS = """
import pytest_servebench.desk as desk
from pytest_servebench.options.placement import Surroundings

desk.look_around = lambda gpus: Surroundings(
    logical_cores=2, cuda_devices=("GPU A", "GPU A"), cuda_uuids=("GPU-1", "GPU-2")
)
"""
TOGETHER = """
import time
from contextlib import contextmanager
from pytest_servebench.leasing.leases import Leases

measuring = Leases.measuring

@contextmanager
def meeting(leases, case):
    with measuring(leases, case) as waited_s:
        (HERE / "journal" / f"{os.getpid()}.measuring").touch()
        for _ in range(3000):
            if len(list((HERE / "journal").glob("*.measuring"))) == 2:
                break
            time.sleep(0.01)
        else:
            raise AssertionError("only one measures at a time")
        yield waited_s

Leases.measuring = meeting
"""
CRASH = """
import signal
from contextlib import contextmanager
from pytest_servebench.leasing.leases import Leases

measuring = Leases.measuring

@contextmanager
def killed(leases, case):
    with measuring(leases, case) as waited_s:
        if case.startswith("controlled-onnx"):
            os.kill(os.getpid(), signal.SIGKILL)
        yield waited_s

Leases.measuring = killed
"""
TWO_CASES = ("--stack=echo,controlled", ONNX)
two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@dataclass(frozen=True)
class Server:
    """What one server wrote: when it started, when it was ready, and which cores it could use."""

    started_ns: int
    ready_ns: int
    cores: str


@dataclass
class Parallel:
    """A suite whose servers and windows leave their instants behind."""

    suite: EchoSuite
    stacks: str = THREE
    faults: dict[str, Any] = field(default_factory=dict)

    def write(self, more: str = "") -> None:
        """Put the suite there, with an empty journal."""
        folder = self.suite.pytester.path
        (folder / "journal").mkdir(exist_ok=True)
        for old in [*(folder / "journal").iterdir(), folder / "windows", folder / "out.json"]:
            old.unlink(missing_ok=True)
        faults = json.dumps(self.faults)
        self.suite.write(stacks=self.stacks, more=JOURNAL.format(faults=faults) + more)

    def run(self, *arguments: str, more: str = "") -> pytest.RunResult:
        """Run it in a process of its own, by default with every stack."""
        self.write(more)
        stacks = (
            () if any("--stack" in one for one in arguments) else ("--stack=echo,controlled,controlled-2",)
        )
        return self.suite.run_apart(*stacks, *arguments)

    @property
    def servers(self) -> list[Server]:
        """Every server that was started, in that order."""
        found = []
        for path in (self.suite.pytester.path / "journal").glob("[0-9]*[0-9]"):
            lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
            at = {word: int(instant) for word, instant, _ in lines}
            found.append(Server(at["started"], at["ready"], lines[0][2]))
        return sorted(found, key=lambda one: one.started_ns)

    @property
    def windows(self) -> list[tuple[int, int]]:
        """The measured windows of all workers."""
        text = (self.suite.pytester.path / "windows").read_text(encoding="ascii")
        return [(int(line.split()[0]), int(line.split()[1])) for line in text.splitlines()]

    @property
    def workers(self) -> set[str]:
        """The workers that measured anything."""
        return {record["worker"] for record in self.suite.records.values()}


@pytest.fixture
def parallel(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Parallel:
    """Return a suite of three stacks of two formats, two of which load models into a running server."""
    return Parallel(echo_suite(pytester, monkeypatch))


def overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two spans of time have an instant in common."""
    return one[0] < other[1] and other[0] < one[1]


def test_starts_overlap_and_windows_do_not(parallel: Parallel) -> None:
    """Three servers that are ready only once all have started; no window beside another or a start-up."""
    parallel.faults["start_together"] = 3
    result = parallel.run("-n3")
    result.assert_outcomes(passed=7)
    first = parallel.servers[:3]
    assert max(one.started_ns for one in first) < min(one.ready_ns for one in first)
    assert len(parallel.windows) == 6
    assert not [pair for pair in combinations(parallel.windows, 2) if overlap(*pair)]
    starts = [(one.started_ns, one.ready_ns) for one in parallel.servers]
    assert not [(start, window) for start in starts for window in parallel.windows if overlap(start, window)]
    assert parallel.workers == {"gw0", "gw1", "gw2"}
    records = parallel.suite.records.values()
    assert {(one["lane"], one["cpu_set"]) for one in records} == {("machine", None)}
    assert max(one["waited_s"] for one in records) > 0.05


@pytest.mark.parametrize("workers", ["0", "3"])
def test_every_stack_starts_as_often_as_without_workers(parallel: Parallel, workers: str) -> None:
    """Once where models are loaded into the running server, once for each deployment where not."""
    result = parallel.run("-n", workers)
    result.assert_outcomes(passed=7)
    assert len(parallel.servers) == 2 + 1 + 1
    names = [bench["name"] for bench in parallel.suite.json["benchmarks"]]
    assert sorted(names) == sorted(
        f"test_speed{part}[{stack}-{each}-tensor-http-b1-i1-c2]"
        for stack in ("echo", "controlled", "controlled-2")
        for each in ("onnx", "pytorch")
        for part in ("", ":p95", ":request_interval")
    )


@two_cores
def test_disjoint_cores_are_measured_at_once(parallel: Parallel) -> None:
    """Two windows that begin only once both are held; each worker's server is on the worker's cores."""
    a, b = sorted(os.sched_getaffinity(0))[:2]
    result = parallel.run("-n2", *TWO_CASES, f"--serve-cpu-sets={a}/{b}", more=TOGETHER)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"servebench lanes: cores {a}, cores {b} (workers take them in turn)"])
    records = parallel.suite.records.values()
    assert {(one["worker"], one["lane"], one["cpu_set"], one["case"]["threads"]) for one in records} == {
        ("gw0", f"cores {a}", str(a), 1),
        ("gw1", f"cores {b}", str(b), 1),
    }
    assert sorted(server.cores for server in parallel.servers) == sorted([str(a), str(b)])


@two_cores
def test_without_workers_the_first_set_is_used(parallel: Parallel) -> None:
    """The session, its servers and its threads are bound, and free again when it is over."""
    a, b = sorted(os.sched_getaffinity(0))[:2]
    parallel.write()
    result = parallel.suite.run("--stack=echo", ONNX, f"--serve-cpu-sets={b}/{a}")
    result.assert_outcomes(passed=2)
    (record,) = parallel.suite.records.values()
    assert (record["cpu_set"], record["case"]["threads"]) == (str(b), 1)
    assert [server.cores for server in parallel.servers] == [str(b)]
    assert len(os.sched_getaffinity(0)) >= 2


def test_more_workers_than_sets_take_turns(parallel: Parallel) -> None:
    """Two workers on one set never measure at once."""
    core = min(os.sched_getaffinity(0))
    parallel.run("-n2", *TWO_CASES, f"--serve-cpu-sets={core}-{core}").assert_outcomes(passed=3)
    assert {record["lane"] for record in parallel.suite.records.values()} == {f"cores {core}"}
    one, other = parallel.windows
    assert not overlap(one, other)


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_workers_take_the_gpus_in_turn_and_measure_at_once(parallel: Parallel, device: str) -> None:
    """Test ids hold no device, so that workers agree on them; the record says which it was."""
    result = parallel.run("-n2", *TWO_CASES, f"--serve-device={device}", more=TWO_GPUS + TOGETHER)
    result.assert_outcomes(passed=3)
    records = parallel.suite.records.values()
    assert {(one["worker"], one["device"], one["lane"]) for one in records} == {
        ("gw0", "cuda:0", "cuda:0"),
        ("gw1", "cuda:1", "cuda:1"),
    }


def test_a_gpu_that_was_named_keeps_all_workers_on_it(parallel: Parallel) -> None:
    """Then they measure one after the other."""
    result = parallel.run("-n2", *TWO_CASES, "--serve-device=cuda:1", more=TWO_GPUS)
    result.assert_outcomes(passed=3)
    assert {one["device"] for one in parallel.suite.records.values()} == {"cuda:1"}
    one, other = parallel.windows
    assert not overlap(one, other)


def test_cores_that_are_not_there_are_told_before_anything_runs(parallel: Parallel) -> None:
    """A usage error of the controller, with what may be used."""
    result = parallel.run("-n2", f"--serve-cpu-sets={min(os.sched_getaffinity(0))}/99999")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --serve-cpu-sets names cores that this process may not use: 99999"])


def test_a_way_to_distribute_that_was_asked_for_is_left_alone(parallel: Parallel) -> None:
    """With ``--dist=each`` every worker runs every case, as pytest-xdist means it."""
    parallel.stacks = "Echo(faults=FAULTS)"
    parallel.write()
    result = parallel.suite.run_apart("--stack=echo", ONNX, "--dist=each", "--tx=2*popen")
    result.assert_outcomes(passed=4)
    assert len(parallel.windows) == 2


class Terminal(BytesIO):
    """A person's terminal; the first word of waiting lets the other session end its window."""

    def __init__(self, release: Callable[[], None]) -> None:
        super().__init__()
        self._release = release

    def write(self, data: Any) -> int:
        if b"waiting for" in bytes(data):
            self._release()
        return super().write(data)


def test_a_person_sees_who_is_waited_for(parallel: Parallel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The live line says what, which process and which case; afterwards it is a load's again."""
    parallel.stacks = "Echo(faults=FAULTS)"
    parallel.write()
    others = BenchSession(Plan(), {}, Path)
    window = ExitStack()
    window.enter_context(others.rooms.measuring(case(deployment("theirs"))))
    terminal = Terminal(window.close)
    monkeypatch.setattr(onlookers, "_is_watched", lambda _config: True)
    monkeypatch.setattr(onlookers, "own_terminal", lambda _stream: terminal)
    monkeypatch.setattr(Terminal, "close", lambda _self: None)
    # Long enough for a load to show how far it is, a few times a second.
    parallel.suite.run("--stack=echo", ONNX, "--serve-duration=1.5").assert_outcomes(passed=2)
    shown = terminal.getvalue().decode()
    assert f"waiting for the machine: process {os.getpid()} measures theirs-onnx-" in shown
    assert shown.index("waiting for") < shown.index("measuring ")


CTRL_C = """
import pytest

@pytest.mark.servebench
def test_it(servebench, case):
    servebench.up(case)
    {then}
"""


@pytest.mark.parametrize("then", ["pass", "raise KeyboardInterrupt"])
def test_servers_end_in_turn_but_for_ctrl_c(
    parallel: Parallel, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """At its end a session disturbs nobody's window; one that is interrupted does not stop to wait."""
    ended: list[Leases] = []

    def ending(leases: Leases) -> AbstractContextManager[None]:
        ended.append(leases)
        return nullcontext()

    monkeypatch.setattr(Leases, "ending", ending)
    parallel.suite.write(CTRL_C.format(then=then))
    with nullcontext() if then == "pass" else pytest.raises(KeyboardInterrupt):
        parallel.suite.run("--stack=echo", ONNX).assert_outcomes(passed=1)
    assert len(ended) == (then == "pass")


CORES = """
def pytest_collection_finish(session):
    worker = getattr(session.config, "workerinput", {}).get("workerid", "nobody")
    (HERE / "journal" / f"{worker}.cores").write_text(repr(sorted(os.sched_getaffinity(0))))
"""


@two_cores
def test_a_replacement_has_the_lane_of_the_worker_that_was_lost(parallel: Parallel) -> None:
    """Every core is still used, and none by two workers."""
    a, b = sorted(os.sched_getaffinity(0))[:2]
    result = parallel.run("-n2", "--stack=echo,controlled", f"--serve-cpu-sets={a}/{b}", more=CRASH + CORES)
    journal = parallel.suite.pytester.path / "journal"
    cores = [(journal / f"gw{i}.cores").read_text(encoding="ascii") for i in range(3)]
    assert cores[:2] == [f"[{a}]", f"[{b}]"]
    (lost,) = (i for i in (0, 1) if f"worker 'gw{i}' crashed" in result.stdout.str())
    assert cores[2] == cores[lost]


def test_a_case_that_loses_its_worker_is_not_run_again(parallel: Parallel) -> None:
    """Killed inside a window, it fails; the rest of its stack goes elsewhere, and its locks are free."""
    result = parallel.run("-n2", "--stack=echo,controlled", more=CRASH)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running '*controlled-onnx-*"])
    assert len(parallel.suite.records) == 3
