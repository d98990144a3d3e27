"""No container outlives its session for long, however that ends; and nobody else's is touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.launchers.docker.leftovers import remove_leftovers
from pytest_servebench.launchers.docker.owner import HOST, PID, WORKER, labels_of, this_process
from pytest_servebench.launchers.docker.owner import STACK as STACK_LABEL
from tests.docker_session import GO, MEASURED, STACK, DockerSessions, within, workers_of
from tests.engine import the_engine
from tests.plugin.echo_suite import echo_suite
from tests.processes import ended

pytestmark = [pytest.mark.live, pytest.mark.docker]

ORDINARY = """
@pytest.fixture
def broken_at_the_end():
    yield
    raise RuntimeError("in a fixture")

@pytest.mark.servebench()
def test_speed(servebench, case{fixture}):
    servebench.measure(case)
    {then}
"""
PLAIN = ORDINARY.format(fixture="", then="pass")
HELD = """
@pytest.mark.servebench()
def test_held(servebench, case):
    servebench.measure(case)
    open("measured" if case.stack == "echo" else "measured too", "w").close()
    wait_for("go")
"""
DEAF = """
import signal

@pytest.mark.servebench()
def test_deaf(servebench, case):
    servebench.measure(case)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    open("measured", "w").close()
    wait_for("go")
"""
CRASH = """
@pytest.mark.servebench()
def test_crash(servebench, case):
    servebench.measure(case)
    open("measured", "w").close()
    wait_for("crash")
    os._exit(9)

def test_other():
    wait_for("go")
"""
workers = pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one process", "two workers"])
TWO = f'{STACK}, ContainedEcho(name="other")'
"""One for each of two workers: all cases of a stack run on one."""


@pytest.fixture
def sessions(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerSessions]:
    """Return sessions of a suite in a folder of its own; whatever is left of them is removed."""
    with the_engine() as engine:
        some = DockerSessions(echo_suite(pytester, monkeypatch), engine)
        yield some
        some.end()


def held(sessions: DockerSessions, *arguments: str) -> subprocess.Popen[str]:
    """Return a session that has measured once in each process and waits, its servers up."""
    count = 2 if arguments else 1
    sessions.write(HELD, stacks=TWO if arguments else STACK)
    stack = ("--stack=echo,other",) if arguments else ()
    process = sessions.start_until(MEASURED, *stack, *arguments)
    assert within(60, lambda: len(list(sessions.folder.glob(f"{MEASURED}*"))) == count)
    assert len(sessions.containers()) == count
    return process


@pytest.mark.parametrize(
    ("fixture", "then", "exit_code"),
    [("", "pass", 0), (", broken_at_the_end", "assert not servebench", 1)],
    ids=["normal end", "failing test and fixture"],
)
def test_an_ordinary_end_leaves_nothing(
    sessions: DockerSessions, fixture: str, then: str, exit_code: int
) -> None:
    """When pytest has returned its container is gone, and nothing was there to be said of earlier ones."""
    sessions.write(ORDINARY.format(fixture=fixture, then=then))
    assert sessions.run() == exit_code, sessions.output
    assert "servebench launcher: docker" in sessions.output
    assert "leftovers" not in sessions.output
    assert sessions.containers() == []


@pytest.mark.parametrize(
    ("workers", "again_after_s"),
    [((), ()), ((), (0.05, 0.4)), (("-n2",), (0.2,))],
    ids=["once", "thrice", "two workers, twice"],
)
def test_ctrl_c_leaves_nothing(
    sessions: DockerSessions, workers: tuple[str, ...], again_after_s: tuple[float, ...]
) -> None:
    """SIGINT to the whole group, as a terminal sends it, as often as a person in a hurry presses it."""
    process = held(sessions, *workers)
    os.killpg(process.pid, signal.SIGINT)
    for pause_s in again_after_s:
        MonotonicClock().sleep_s(pause_s)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
    code = sessions.finish(process)
    assert code, sessions.output
    assert sessions.containers() == [], sessions.output


@pytest.mark.parametrize(
    ("workers", "how"),
    [(("-n2",), signal.SIGTERM), ((), signal.SIGHUP)],
    ids=["term to two workers", "hang-up"],
)
def test_told_to_end_it_leaves_nothing(
    sessions: DockerSessions, workers: tuple[str, ...], how: signal.Signals
) -> None:
    """To pytest alone, as CI ends it or a closed terminal: neither containers nor workers are left."""
    process = held(sessions, *workers)
    children = workers_of(process)
    assert len(children) >= 2 * len(workers)
    process.send_signal(how)
    assert sessions.finish(process) == pytest.ExitCode.INTERRUPTED, sessions.output
    assert sessions.containers() == []
    assert ended(*children)


def test_a_worker_that_will_not_end_leaves_nothing(sessions: DockerSessions) -> None:
    """It is killed in the end, and what it had started is removed by the controller."""
    sessions.write(DEAF)
    process = sessions.start_until(MEASURED, "-n1")
    assert len(sessions.containers()) == 1
    process.terminate()
    assert sessions.finish(process) == pytest.ExitCode.INTERRUPTED, sessions.output
    assert sessions.containers() == []


@pytest.mark.skipif(not shutil.which("nohup"), reason="needs nohup")
def test_nohup_outlives_its_terminal(sessions: DockerSessions) -> None:
    """Whoever ignores hang-ups goes on, and ends as always."""
    sessions.write(HELD)
    sessions.before = ("nohup",)
    process = sessions.start_until(MEASURED)
    process.send_signal(signal.SIGHUP)
    (sessions.folder / GO).touch()
    assert sessions.finish(process) == 0, sessions.output
    assert sessions.containers() == []


def test_a_crashed_workers_container_goes_at_once(sessions: DockerSessions) -> None:
    """Not only when the session ends: the place is needed by the worker that replaces it."""
    sessions.write(CRASH)
    process = sessions.start_until(MEASURED, "-n2")
    (its,) = sessions.containers()
    worker = its["Labels"][WORKER]
    (sessions.folder / "crash").touch()
    assert within(20, lambda: not sessions.containers())
    assert process.poll() is None
    (sessions.folder / GO).touch()
    assert sessions.finish(process) == pytest.ExitCode.TESTS_FAILED, sessions.output
    assert f"worker '{worker}' crashed" in sessions.output
    assert sessions.containers() == []


@workers
def test_the_next_run_removes_what_a_killed_one_left(
    sessions: DockerSessions, workers: tuple[str, ...]
) -> None:
    """SIGKILL to all of it leaves containers; the next run says in its header which it removed."""
    process = held(sessions, *workers)
    os.killpg(process.pid, signal.SIGKILL)
    sessions.finish(process)
    left = sessions.containers()
    assert len(left) == len(workers) + 1
    sessions.write(PLAIN)
    assert sessions.run() == 0, sessions.output
    (line,) = [line for line in sessions.output.splitlines() if "leftovers" in line]
    assert line.startswith("servebench leftovers: removed ")
    for one in left:
        labels = one["Labels"]
        assert f"{labels[STACK_LABEL]} {one['Id'][:12]} of process {labels[PID]}" in line
    assert sessions.containers() == []


def test_workers_whose_controller_was_killed_leave_nothing(sessions: DockerSessions) -> None:
    """They end by themselves and clear away, or the next run does it for them."""
    process = held(sessions, "-n2")
    children = workers_of(process)
    process.kill()
    sessions.write(PLAIN)
    assert sessions.run() == 0, sessions.output
    sessions.finish(process)
    assert ended(*children, within_s=30)
    assert sessions.containers() == []


def test_nobody_elses_container_is_touched(sessions: DockerSessions) -> None:
    """Not a living session's, not one without labels, not another host's, though its owner is dead."""
    living = held(sessions)
    (its,) = sessions.containers()
    assert its["Labels"][PID] == str(living.pid)
    dead = replace(this_process("dead"), started_ticks=1, host=sessions.host)
    strangers = [
        sessions.put({}),
        sessions.put({HOST: sessions.host, PID: "1"}),
        sessions.put(labels_of(replace(dead, host=f"{sessions.host}-2"), "echo")),
        sessions.put(labels_of(replace(dead, pid_namespace="pid:[1]"), "echo")),
        sessions.put(labels_of(replace(dead, boot="another"), "echo")),
    ]
    leftovers = [
        sessions.put(labels_of(dead, "echo")),
        sessions.put(labels_of(replace(dead, boot="another"), "echo"), seconds=0),
    ]
    try:
        sessions.write(PLAIN)
        assert sessions.run("--benchmark-json=second.json") == 0, sessions.output
        assert sessions.output.count(f"of process {dead.pid}") == len(leftovers)
        assert sessions.there([its["Id"], *strangers, *leftovers]) == [its["Id"], *strangers]
        (sessions.folder / GO).touch()
        assert sessions.finish(living) == 0, sessions.output
        assert sessions.there([its["Id"], *strangers]) == strangers
    finally:
        sessions.remove(*strangers)


def test_two_that_clear_away_at_once(sessions: DockerSessions) -> None:
    """Each container is removed and said by one of them, and none is trouble to the other."""
    dead = replace(this_process("dead"), started_ticks=1, host=sessions.host)
    ids = [sessions.put(labels_of(dead, "echo")) for _ in range(3)]
    here = replace(this_process("here"), host=sessions.host)
    with ThreadPoolExecutor() as pool:
        removals = [each.result() for each in [pool.submit(remove_leftovers, here) for _ in range(4)]]
    assert [removal.trouble for removal in removals] == [""] * 4
    said = sorted(name for removal in removals for name in removal.removed)
    assert said == sorted(f"echo {one[:12]} of process {dead.pid}" for one in ids)
    assert within(10, lambda: not sessions.there(ids))


def test_two_sessions_at_once(sessions: DockerSessions) -> None:
    """Each ends with its own containers, and neither takes the other's for left behind."""
    sessions.write(PLAIN)
    both = [sessions.start(f"--benchmark-json={i}.json") for i in range(2)]
    for process in both:
        assert sessions.finish(process) == 0, sessions.output
        assert "leftovers" not in sessions.output
    assert sessions.containers() == []
