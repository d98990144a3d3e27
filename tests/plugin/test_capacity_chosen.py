"""A benchmark of capacity waits until an objective is chosen; then it is searched, recorded and judged."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plugin.echo_suite import EchoSuite, echo_suite

SUITE = """
import pytest

@pytest.mark.servebench(objective="open", concurrency=4)
def test_holds(servebench, case):
    servebench.capacity(case)

@pytest.mark.servebench(concurrency=2)
def test_busy(servebench, case):
    servebench.measure(case)
"""
OF_ITS_OWN = """
import pytest

@pytest.mark.servebench(objective="p50<=60ms,errors<50%", formats="onnx")
def test_ours(servebench, case):
    result = servebench.capacity(case)
    assert result.capacity.last_passing_per_s == result.summary.capacity_per_s
"""
WRONG_WAY = """
import pytest

@pytest.mark.servebench(objective="p90<=60ms", formats="onnx")
def test_objective_measured(servebench, case):
    servebench.measure(case)

@pytest.mark.servebench(formats="onnx")
def test_load_searched(servebench, case):
    servebench.capacity(case)
"""
TEXT = "p50<=60ms,errors<50%"
EASY = f"--serve-objective={TEXT}"
"""Some 23 requests decide."""
ID = "echo-onnx-tensor-http-b1-i1-capacity-p50-60ms-errors-50"
ONE_AT_A_TIME = "Echo(faults=Faults(delay_s=0.02))"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite of echo stacks."""
    return echo_suite(pytester, monkeypatch)


def test_without_an_objective_there_is_no_case_and_the_reason_is_told(suite: EchoSuite) -> None:
    """The default run is not lengthened, and the way to the benchmark is shown."""
    suite.write(SUITE)
    result = suite.run("--stack=echo", "--collect-only", "-q", "--serve-format=onnx")
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_busy[[]echo-onnx-tensor-http-b1-i1-c2[]]",
            "servebench: test_holds needs an objective and was not run. Choose one with --serve-objective=*",
        ]
    )
    result.stdout.no_fnmatch_line("*::test_holds*")


@pytest.mark.parametrize("place", ["line", "ini", "toml"])
def test_a_chosen_objective_makes_its_cases_from_any_place(suite: EchoSuite, place: str) -> None:
    """Command line, ini and TOML alike; other benchmarks stay what they are."""
    suite.write(SUITE)
    if place == "ini":
        suite.pytester.makeini("[pytest]\nserve_objective = p50<=60ms,errors<50%\n")
    if place == "toml":
        suite.pytester.makepyprojecttoml('[tool.servebench]\nobjective = ["p50<=60ms", "errors<50%"]\n')
    arguments = [EASY] if place == "line" else []
    result = suite.run("--stack=echo", "--collect-only", "-q", "--serve-format=onnx", *arguments)
    result.stdout.fnmatch_lines_random(
        [f"test_it.py::test_holds[[]{ID}[]]", "test_it.py::test_busy[[]echo-onnx-tensor-http-b1-i1-c2[]]"]
    )
    result.stdout.no_fnmatch_line("*needs an objective*")


def test_a_wrong_objective_is_a_usage_error(suite: EchoSuite) -> None:
    """Nothing is started, and the grammar is told."""
    suite.write(SUITE)
    result = suite.run("--stack=echo", "--serve-objective=p95=50ms")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--serve-objective has no limit in 'p95=50ms'", "*next: give limits separated by commas: *"]
    )


def test_an_objective_that_nobody_can_ask_for_is_not_blamed_on_the_user(suite: EchoSuite) -> None:
    """Where an objective was given, a benchmark without a case is told for what it is."""
    suite.write(SUITE.replace("concurrency=4", "payloads='jpeg'"))
    result = suite.run("--stack=echo", "--collect-only", "-q", EASY)
    result.stdout.fnmatch_lines(["servebench: test_holds was not run: what its marker narrows *"])
    result.stdout.no_fnmatch_line("*needs an objective*")


def test_a_capacity_is_searched_recorded_shown_and_compared(suite: EchoSuite) -> None:
    """One line and a column per case, every trial in the record, and stock ``compare`` reads the run."""
    suite.write(SUITE, stacks=ONE_AT_A_TIME)
    result = suite.run("--stack=echo", "--serve-format=onnx", "-k", "holds", EASY, "--serve-duration=0.1")
    record = suite.records[ID]
    capacity = record["capacity"]
    # A busy machine may leave the search undecided; what it saw is recorded and shown all the same.
    assert capacity["objective"] == record["case"]["objective"] == TEXT
    assert capacity["trials"]
    assert {"rate_per_s", "requests", "over", "percentile_ms", "verdict"} <= set(capacity["trials"][0])
    assert {one["verdict"] for one in capacity["trials"]} <= {"pass", "fail", "undecided", "client_limited"}
    assert record["load"]["arrivals"] == f"poisson:{capacity['trials'][-1]['rate_per_s']:g}"
    result.stdout.fnmatch_lines(
        [
            "*holds*",
            f"capacity: test_holds echo onnx, batch 1, *, {TEXT}: last pass *, first fail * trials)",
        ]
    )
    if record["publishable"]:
        compared = subprocess.run(
            [sys.executable, "-m", "pytest_benchmark", "compare", "out.json", "--columns=median,ops"],
            cwd=suite.pytester.path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"test_holds[{ID}" in compared.stdout
        assert f"objective={TEXT}" in compared.stdout


def test_a_benchmark_may_have_an_objective_of_its_own(suite: EchoSuite) -> None:
    """The marker's is looked for without any option, and the user's wins."""
    suite.write(OF_ITS_OWN)
    own = suite.run("--stack=echo", "--collect-only", "-q")
    own.stdout.fnmatch_lines([f"test_it.py::test_ours[[]{ID}[]]"])
    given = suite.run("--stack=echo", "--collect-only", "-q", "--serve-objective=p99<1s")
    given.stdout.fnmatch_lines(["test_it.py::test_ours[[]echo-onnx-tensor-http-b1-i1-capacity-p99-1s[]]"])


def test_a_case_is_asked_for_in_its_own_way(suite: EchoSuite) -> None:
    """A case with an objective is not measured, one without has no capacity; either says what to call."""
    suite.write(WRONG_WAY)
    result = suite.run("--stack=echo")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "*a case with an objective has no load to be measured under: its rate is looked for",
            "*next: call servebench.capacity(case)",
            "*a capacity is that within an objective, and this case has none",
        ]
    )


def test_a_marker_cannot_give_the_rate_that_is_looked_for(suite: EchoSuite) -> None:
    """Arrivals and an objective contradict each other."""
    suite.write(OF_ITS_OWN.replace("formats=", "arrivals='poisson:5', formats="))
    result = suite.run("--stack=echo", "--collect-only")
    result.stdout.fnmatch_lines(["*the marker servebench has both an objective and arrivals"])


def test_disabled_benchmarks_look_for_no_capacity(suite: EchoSuite) -> None:
    """``--benchmark-disable``: right answers only, so two short loads do and no rate need hold."""
    suite.write(SUITE, stacks=ONE_AT_A_TIME)
    result = suite.run("--stack=echo", "--serve-format=onnx", "-k", "holds", EASY, "--benchmark-disable")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.no_fnmatch_line("capacity: *")
    assert not (suite.pytester.path / "out.json").exists()
