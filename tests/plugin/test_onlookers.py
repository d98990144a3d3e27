"""What is shown while something takes long."""

from __future__ import annotations

import os
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_servebench import onlookers
from pytest_servebench.onlookers import FinishedCases, LoggedWaits, Onlookers
from pytest_servebench.plan import Plan
from pytest_servebench.recording import REPORT_FIELD
from pytest_servebench.reports.progress import ERASE_LINE, LiveProgress
from pytest_servebench.session import BenchSession
from pytest_servebench.testing.clock import FakeClock
from tests.echo_house import case, deployment
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite
from tests.saved_records import saved_record

MAKES_AN_IMAGE = """
import pytest_servebench.session as session
from pytest_servebench.launchers.process import ProcessLauncher

class Maker(ProcessLauncher):
    making = staticmethod(lambda *_: None)

    def start(self, *launch):
        for line in ("it is built", "Step 1/2", "Step 2/2"):
            self.making("servebench/echo:1", line)
        return super().start(*launch)

def launcher_of(self, stack):
    launcher = Maker()
    launcher.making = self._making
    return launcher

session.BenchSession._launcher, before = launcher_of, session.BenchSession._launcher

def pytest_unconfigure():
    session.BenchSession._launcher = before
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


@pytest.mark.parametrize("more", [(), ("-q",), ("-n", "1")], ids=" ".join)
def test_a_log_says_once_that_an_image_is_made(suite: EchoSuite, more: tuple[str, ...]) -> None:
    """Where nobody watches, minutes without a word have their reason in the log; -q and workers do not."""
    suite.write(more=MAKES_AN_IMAGE)
    result = (suite.run_apart if "-n" in more else suite.run)("--stack=echo", ONNX, *more)
    result.assert_outcomes(passed=2)
    said = [line for line in result.outlines if "image servebench/echo:1" in line]
    assert said == ([] if more else ["servebench image servebench/echo:1: it is built"])


def test_a_wait_is_worth_a_line_after_ten_seconds_and_each_minute() -> None:
    """However often it is told; the next wait is counted from its own beginning."""
    said: list[str] = []
    waits = LoggedWaits(said.append)
    for second in range(135):
        waits("waiting for it", second)
    assert said == [f"servebench waiting for it ({second} s so far)" for second in (10, 70, 130)]
    for second in range(12):
        waits("waiting again", second)
    assert said[3:] == ["servebench waiting again (10 s so far)"]


@pytest.mark.parametrize("every", [False, True])
def test_a_finished_case_is_worth_a_line_every_ten_seconds(*, every: bool) -> None:
    """So a session of seconds has none, a long one tells where it is; with -v each case has its line."""
    said: list[str] = []
    clock = FakeClock()
    told = FinishedCases(said.append, every=every, stacks=("triton",), clock=clock)
    told.pytest_xdist_node_collection_finished(["t.py::a[triton-onnx-tensor-http-b8-i1-c16]", "t.py::b"])
    for seconds in (4, 7, 1):
        clock.sleep_s(seconds)
        told.pytest_runtest_logreport(reported(saved_record(stack="triton")))
        told.pytest_runtest_logfinish()
        told.pytest_runtest_logfinish()  # of a test that measured nothing
    what = "test_speed triton onnx, batch 8, 1 per request, 16 in flight: p95 8.55 ms, 2.00 images/s, valid"
    lines = [f"servebench 1 of 1, 4 s: {what}", f"servebench 2, 11 s: {what}", f"servebench 3, 12 s: {what}"]
    assert said == (lines if every else lines[1:2])


def reported(record: dict[str, Any]) -> Any:
    """Return a test's report that carries a record."""
    return SimpleNamespace(**{REPORT_FIELD: [{"record": record}]})


@pytest.mark.parametrize("more", [(), ("-n", "1"), ("-q",)], ids=" ".join)
def test_each_case_is_told_where_asked(suite: EchoSuite, more: tuple[str, ...]) -> None:
    """With -v also by the controller of workers, in a line of its own; -q wins."""
    suite.write()
    result = (suite.run_apart if "-n" in more else suite.run)("--stack=echo", ONNX, "-v", *more, *more)
    said = [line for line in result.outlines if line.startswith("servebench 1 of 1, ")]
    assert len(said) == ("-q" not in more)
    tables = [line for line in result.outlines if "benchmark 'test_speed" in line]
    assert bool(tables) == ("-q" not in more), "-q leaves out those of pytest-benchmark, too"


def test_a_person_sees_which_repeat_it_is(suite: EchoSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the case's name, which a narrow terminal cuts off."""
    labels: list[str] = []
    before = LiveProgress.__enter__

    def entered(live: LiveProgress) -> LiveProgress:
        labels.append(live.label)
        return before(live)

    monkeypatch.setattr(LiveProgress, "__enter__", entered)
    suite.write()
    suite.run("--stack=echo", ONNX, "--serve-repeats=2").assert_outcomes(passed=3)
    suite.run("--stack=echo", ONNX).assert_outcomes(passed=2)
    name = "echo-onnx-tensor-http-b1-i1-c2"
    assert labels == [f"repeat 1 of 2, {name}-r1", f"repeat 2 of 2, {name}-r2", name]


def test_a_wait_after_the_last_case_leaves_the_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a server is waited for too: a line that was opened then would stay in pytest's output."""
    reading, writing = os.pipe()
    monkeypatch.setattr(onlookers, "_is_watched", lambda _: True)
    monkeypatch.setattr(onlookers, "own_terminal", lambda _: FileIO(writing, "w"))
    config: Any = SimpleNamespace(
        get_verbosity=lambda: 0, option=SimpleNamespace(), pluginmanager=pytest.PytestPluginManager()
    )
    looking = Onlookers(config)
    assert looking.wait is not None
    with looking.watching(case(deployment("echo"))):
        looking.wait("waiting for the machine", 0.0)
    looking.wait("waiting for the machine", 1.0)
    looking.close()
    with FileIO(reading) as written:
        shown = written.read()
    assert shown.count(b"waiting for the machine") == 1
    assert shown.endswith(ERASE_LINE.encode())


def test_a_log_says_who_is_waited_for(suite: EchoSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a session that another one keeps waiting is not silent."""
    suite.write()
    window = ExitStack()
    others = BenchSession(Plan(), {}, Path)
    window.enter_context(others.rooms.measuring(case(deployment("theirs"))))
    write = Onlookers._log

    def write_and_release(self: Onlookers, text: str) -> None:
        write(self, text)
        window.close()

    monkeypatch.setattr(onlookers, "FIRST_WORD_S", 0.0)
    monkeypatch.setattr(Onlookers, "_log", write_and_release)
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=2)
    (said,) = [line for line in result.outlines if "waiting for" in line]
    assert said.startswith(f"servebench waiting for the machine: process {os.getpid()} measures theirs-onnx-")
    assert said.endswith("(0 s so far)")


@pytest.mark.parametrize(("verbosity", "worker"), [(0, False), (-1, False), (0, True)])
def test_quiet_sessions_and_workers_have_no_log(verbosity: int, *, worker: bool) -> None:
    """Their waits are told to nobody, so nothing is read for it either."""
    told: Any = {"workerinput": {}} if worker else {}
    told |= {"option": SimpleNamespace(), "pluginmanager": pytest.PytestPluginManager()}
    config: Any = SimpleNamespace(get_verbosity=lambda: verbosity, **told)
    assert (Onlookers(config).wait is None) == (verbosity < 0 or worker)
