"""Whole sessions with repeats: every replicate has a server of its own, and stacks take turns."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pytest_servebench.comparison.replicates import replicates_of
from tests.plugin.echo_suite import ONNX, SPEED, EchoSuite, echo_suite

TWO = "Echo(faults=FAULTS), ControlledEcho(faults=FAULTS)"
THREE = f'{TWO}, ControlledEcho(name="controlled-2", faults=FAULTS)'
JOURNAL = """
import os
from pathlib import Path

HERE = Path(__file__).parent
(HERE / "journal").mkdir(exist_ok=True)
FAULTS = Faults(journal=str(HERE / "journal"))

def pytest_servebench_gate(result):
    with open(HERE / "windows", "a") as file:
        file.write(f"{os.getpid()} {result.endpoint.pid} {result.case.id}\\n")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def measured(suite: EchoSuite) -> list[tuple[str, str, str, str]]:
    """Return the process, the server, the stack and the repeat of every window, in order."""
    text = (suite.pytester.path / "windows").read_text(encoding="ascii")
    lines = [line.split() for line in text.splitlines()]
    return [(pid, server, case.partition("-onnx")[0], case[-2:]) for pid, server, case in lines]


def starts(suite: EchoSuite) -> int:
    """Return how many servers were started."""
    return len(list((suite.pytester.path / "journal").glob("[0-9]*[0-9]")))


def test_stacks_take_turns_and_every_replicate_has_its_own_server(suite: EchoSuite) -> None:
    """A B, A B, A B; a record, an entry and a cold start for each; said in the header."""
    suite.write(stacks=TWO, more=JOURNAL)
    result = suite.run("--stack=echo,controlled", ONNX, "--serve-repeats=3")
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(
        ["servebench repeats: 3, each with a server started anew: echo controlled, echo controlled, ..."]
    )
    assert [(stack, repeat) for _, _, stack, repeat in measured(suite)] == [
        (stack, f"r{repeat}") for repeat in (1, 2, 3) for stack in ("echo", "controlled")
    ]
    assert len({server for _, server, _, _ in measured(suite)}) == starts(suite) == 6
    records = suite.records
    assert [(one["repeat"], one["repeats"], one["restarted"]) for one in records.values()] == [
        (repeat, 3, True) for repeat in (1, 1, 2, 2, 3, 3)
    ]
    assert all(record["cold_start_s"] > 0 for record in records.values())
    assert [name for name in records if name.startswith("echo")] == [
        f"echo-onnx-tensor-http-b1-i1-c2-r{repeat}" for repeat in (1, 2, 3)
    ]
    assert {name: len(each) for name, each in replicates_of(records.values()).items()} == {
        f"test_it.py::test_speed[{stack}-onnx-tensor-http-b1-i1-c2]": 3 for stack in ("echo", "controlled")
    }
    assert len(suite.json["benchmarks"]) == 3 * 6


@pytest.mark.parametrize("stack", ["echo", "controlled"])
def test_one_stack_alone_is_restarted_too(suite: EchoSuite, stack: str) -> None:
    """A replicate is a server's start, also where no other stack is measured in between."""
    suite.write(stacks=TWO, more=JOURNAL)
    suite.run(f"--stack={stack}", ONNX, "--serve-repeats=2").assert_outcomes(passed=3)
    assert starts(suite) == 2


def test_within_a_repeat_servers_are_shared_as_ever(suite: EchoSuite) -> None:
    """Two formats of a stack that loads models are one start in each repeat."""
    suite.write(stacks=TWO, more=JOURNAL)
    suite.run("--stack=controlled", "--serve-repeats=2").assert_outcomes(passed=5)
    assert starts(suite) == 2


@pytest.mark.parametrize("workers", ["1", "2"])
def test_workers_interleave_the_stacks_that_they_have(suite: EchoSuite, workers: str) -> None:
    """All cases of a stack on one worker, which goes round its stacks: as many starts as without workers."""
    suite.write(stacks=THREE, more=JOURNAL)
    result = suite.run_apart("--stack=echo,controlled,controlled-2", ONNX, "--serve-repeats=3", "-n", workers)
    result.assert_outcomes(passed=10)
    assert starts(suite) == 9
    seen = measured(suite)
    by_worker = [[one for one in seen if one[0] == pid] for pid in dict.fromkeys(one[0] for one in seen)]
    assert len(by_worker) == int(workers)
    for lines in by_worker:
        stacks = list(dict.fromkeys(stack for _, _, stack, _ in lines))
        assert [(stack, repeat) for _, _, stack, repeat in lines] == [
            (stack, f"r{repeat}") for repeat in (1, 2, 3) for stack in stacks
        ]
    assert sorted(len({line[2] for line in lines}) for lines in by_worker) == (
        [3] if workers == "1" else [1, 2]
    )


def test_what_measures_nothing_is_not_repeated(suite: EchoSuite) -> None:
    """A test that only asks says so in its marker, and one without the fixture cannot measure at all."""
    suite.write(
        test="""
        import pytest

        @pytest.mark.servebench(once=True)
        def test_ask(servebench, case):
            servebench.ask(case)

        @pytest.mark.servebench()
        def test_look(case):
            assert case.repeat is None

        @pytest.mark.servebench()
        def test_speed(servebench, case):
            servebench.measure(case)

        def test_up(servebench):
            pass
        """,
        more=JOURNAL,
        stacks="ControlledEcho(faults=FAULTS)",
    )
    result = suite.run("--stack=controlled", ONNX, "--serve-repeats=2", "-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "*::test_up PASSED*",
            "*::test_speed[[]controlled-*-c1-r1] PASSED*",
            "*::test_ask[[]controlled-*-c1] PASSED*",
            "*::test_look[[]controlled-*-c1] PASSED*",
            "*::test_speed[[]controlled-*-c1-r2] PASSED*",
        ]
    )
    assert starts(suite) == 2


def test_a_load_that_records_nothing_is_not_repeated(suite: EchoSuite) -> None:
    """With ``--benchmark-disable`` right answers are asked for once."""
    suite.write()
    result = suite.run("--stack=echo", ONNX, "--serve-repeats=5", "--benchmark-disable")
    result.assert_outcomes(passed=2)


def test_a_second_measurement_of_a_test_is_told_apart(suite: EchoSuite) -> None:
    """Its replicates are those of other repeats, not the first measurement of its own."""
    suite.write(test=SPEED.replace("measure(case)", "measure(case)\n    servebench.measure(case)", 1))
    suite.run("--stack=echo", ONNX, "--serve-repeats=2").assert_outcomes(passed=3)
    records = suite.json["servebench"]["records"]
    assert [(one["repeat"], one["measurement"]) for one in records] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [len(each) for each in replicates_of(records).values()] == [2, 2]


def test_cases_of_a_tests_own_making_join_too(suite: EchoSuite) -> None:
    """A load changed in the test, or a case made there, is a replicate like the test's own."""
    suite.write(
        test="""
        from dataclasses import replace
        import pytest
        from pytest_servebench import Case

        @pytest.mark.servebench()
        @pytest.mark.parametrize("in_flight", [3])
        def test_speed(servebench, case, in_flight):
            servebench.measure(replace(case, load=replace(case.load, concurrency=in_flight)))
            servebench.measure(Case(deployment=case.deployment, load=case.load))
        """
    )
    suite.run("--stack=echo", ONNX, "--serve-repeats=2").assert_outcomes(passed=2)
    joined = replicates_of(suite.json["servebench"]["records"])
    assert list(joined) == [
        f"test_it.py::test_speed[echo-onnx-tensor-http-b1-i1-c1-3]{number}" for number in ("", "#2")
    ]
    assert [len(each) for each in joined.values()] == [2, 2]


def test_stock_comparisons_read_files_with_repeats(suite: EchoSuite) -> None:
    """``pytest-benchmark compare`` and ``--benchmark-compare`` go on working: an entry for each replicate."""
    suite.write()
    for _ in range(2):
        arguments = ("--stack=echo", ONNX, "--serve-repeats=2", "--benchmark-autosave", "--benchmark-compare")
        result = suite.run(*arguments)
        result.assert_outcomes(passed=3)
    shown = result.stdout.str()
    for repeat in (1, 2):
        assert f"test_speed[echo-onnx-tensor-http-b1-i1-c2-r{repeat}] (0001_" in shown
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "-k", "p95", "--between=median"],
        cwd=suite.pytester.path,
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    rows = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("test_speed:p95")]
    assert sorted(set(rows)) == [f"test_speed:p95[echo-onnx-tensor-http-b1-i1-c2-r{n}]" for n in (1, 2)]
