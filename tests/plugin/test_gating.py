"""A session against a baseline: what is red, what is green, and what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from tests.plugin.echo_suite import ONNX, SPEED, EchoSuite, echo_suite

FAST = "Echo(faults=Faults(delay_s=0.02))"
SLOW = "Echo(faults=Faults(delay_s=0.06))"
CASE = "test_it.py::test_speed[echo-onnx-tensor-http-b1-i1-c2]"
FOUR, THREE = "--serve-repeats=4", "--serve-repeats=3"
AGAINST = ("--serve-baseline=main", "--serve-fail=p50:80%,throughput:45%")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def baseline(*words: str) -> Result:
    """Call ``servebench baseline`` in the suite's folder."""
    done = CliRunner().invoke(main, ["baseline", *words])
    assert done.exit_code == 0, done.output
    return done


_MEASURED: dict[str, str] = {}
"""What was saved of a stack: four repeats, which take seconds."""


def measured(suite: EchoSuite, stacks: str, names: str = "echo") -> str:
    """Return the name of a file with four repeats of ``stacks``, which have ``names``, and offer these."""
    suite.write(stacks=stacks)
    path = suite.pytester.path / "before.json"
    if stacks not in _MEASURED:
        result = suite.run(f"--stack={names}", ONNX, FOUR, f"--benchmark-json={path}")
        assert result.ret == 0, result.stdout.str()
        _MEASURED[stacks] = path.read_text(encoding="utf-8")
    path.write_text(_MEASURED[stacks], encoding="utf-8")
    return path.name


def promoted(suite: EchoSuite, stacks: str = FAST, names: str = "echo") -> None:
    """Make what was measured of ``stacks`` a baseline."""
    baseline("promote", measured(suite, stacks, names))


def run(suite: EchoSuite, *arguments: str) -> pytest.RunResult:
    """Run the suite with echo and one format; workers need a process of their own to be started from."""
    return (suite.run_apart if "-n" in arguments else suite.run)("--stack=echo", ONNX, *arguments)


def gate_of(suite: EchoSuite) -> dict[str, Any]:
    """Return what the gate has saved."""
    saved: dict[str, Any] = suite.json["servebench"]["gate"]
    return saved


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "two-workers"])
def test_a_slower_server_is_a_red_session(suite: EchoSuite, workers: tuple[str, ...]) -> None:
    """Exit code 1 and a line for each figure, no traceback, every test green, and all of it saved."""
    promoted(suite)
    suite.write(stacks=SLOW)
    result = run(suite, *AGAINST, FOUR, *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"passed": 5}
    result.stdout.fnmatch_lines(
        [
            "servebench baseline: main (promoted 20*, 4 repeats, 1 case)",
            "servebench limits: p50:80%,throughput:45%; what is inconclusive fails, except noise (auto)",
            f"regression: {glob(CASE)}: p50 * -> * ms, +*% [[]+*%, +*%], limit +80%, 4 v 4 repeats, p *",
            f"regression: {glob(CASE)}: throughput * -> * images/s, -*% [[]*], limit -45%, 4 v 4 repeats*",
            "servebench gate: 2 regressions, 0 improvements, 0 inconclusive, 0 passed, of 2 *: failed",
        ]
    )
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    gate = gate_of(suite)
    assert (gate["failed"], gate["not_asked"], gate["limits"]) == (True, 0, "p50:80%,throughput:45%")
    assert gate["baseline"]["name"] == "main"
    assert [(one["case"], one["figure"], one["verdict"], one["fails"]) for one in gate["changes"]] == [
        (CASE, "p50", "regression", True),
        (CASE, "throughput", "regression", True),
    ]
    assert gate["changes"][0]["change"] > 0.8
    assert (
        gate["changes"][0]["interval"][0] < gate["changes"][0]["change"] < gate["changes"][0]["interval"][1]
    )


def glob(text: str) -> str:
    """Return a text as fnmatch takes it literally."""
    return text.replace("[", "[[]")


def test_faster_than_before_is_told(suite: EchoSuite) -> None:
    """An improvement has its line, and fails nothing."""
    promoted(suite, SLOW)
    suite.write(stacks=FAST)
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "improvement: *: p50 * -> * ms, -*",
            "improvement: *: throughput *",
            "servebench gate: 0 regressions, 2 improvements, 0 inconclusive, 0 passed, of 2 *with main",
        ]
    )


def test_as_fast_as_before_is_green(suite: EchoSuite) -> None:
    """What passed is counted, and has no line of its own."""
    promoted(suite)
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["servebench gate: 0 regressions, 0 improvements, 0 inconclusive, 2 passed, *"]
    )
    result.stdout.no_fnmatch_line("pass: *")


@pytest.mark.parametrize("option", ["--serve-baseline=mian", "--serve-baseline=../elsewhere.json"])
def test_a_baseline_that_is_not_there_stops_before_anything_is_measured(
    suite: EchoSuite, option: str
) -> None:
    """A usage error that names those that are there, and how to make one."""
    promoted(suite)
    result = suite.run("--stack=echo", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: there is *",
            "  seen: baselines there: main",
            "  next: *servebench baseline promote RUN.json*",
        ]
    )
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    result.stdout.no_fnmatch_line("*collected*")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one-process", "a-worker"])
def test_a_baseline_of_other_cases_stops_before_anything_is_measured(
    suite: EchoSuite, workers: tuple[str, ...]
) -> None:
    """A baseline from another rootdir, or of renamed tests, must not make everything look new and fine."""
    promoted(suite)
    suite.pytester.makepyfile(test_it=SPEED.replace("test_speed", "test_renamed"))
    result = run(suite, *AGAINST, THREE, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stdout.str() + result.stderr.str()
    assert "the baseline main (promoted 20" in said
    assert "has none of the cases that would be measured" in said
    assert f"seen: the baseline has: {CASE}" in said
    assert "Traceback" not in said
    assert "passed" not in said


def test_what_was_not_asked_for_is_no_doubt(suite: EchoSuite) -> None:
    """A part of the baseline may be measured; one line says how much was left."""
    both = 'Echo(faults=Faults(delay_s=0.02)), Echo(name="other", faults=Faults(delay_s=0.02))'
    promoted(suite, both, "echo,other")
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "servebench gate: 0 regressions, * 2 passed, of 2 figures compared with main",
            "servebench gate: 1 case of the baseline was not asked for",
        ]
    )
    assert gate_of(suite)["not_asked"] == 1
    result = suite.run("--stack=echo,other", ONNX, THREE, *AGAINST, "-k", "other")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["servebench gate: 1 case of the baseline was not asked for"])


def test_a_new_case_is_missing_in_the_baseline(suite: EchoSuite) -> None:
    """What nothing can be compared with is not green."""
    promoted(suite)
    result = suite.run("--stack=echo", "--serve-format=onnx,pytorch", THREE, *AGAINST)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "inconclusive: *echo-pytorch-*: p50, throughput: the baseline has no such case; *",
            "*, 2 inconclusive (2 of them fail), 2 passed, of 4 figures compared with main: failed",
        ]
    )
    result = suite.run(
        "--stack=echo", "--serve-format=onnx,pytorch", THREE, *AGAINST, "--serve-inconclusive=warn"
    )
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*, 2 inconclusive (0 of them fail), 2 passed, of 4 figures *"])


def test_a_case_that_gave_no_record_is_not_green(suite: EchoSuite) -> None:
    """Its server did not come up: the test is red, and the gate does not pass it over."""
    promoted(suite)
    suite.write(stacks="Echo(faults=Faults(exits_at_start=True))")
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["servebench gate: nothing was measured, so nothing was compared with main*"])


STOPS = """
import pytest

def test_plain():
    pass

@pytest.mark.servebench(concurrency=2)
def test_speed(servebench, case):
    {before}
    servebench.measure(case)
    {after}
"""


def test_a_session_that_is_cut_short_is_not_green(suite: EchoSuite) -> None:
    """Some repeats are not compared as if they were all; whoever ends pytest with 0 is told."""
    promoted(suite)
    test = STOPS.format(
        before="pass",
        after="case.repeat != 3 or pytest.exit('enough', returncode=0)",
    )
    suite.pytester.makepyfile(test_it=test)
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["inconclusive: *: p50, throughput: 1 of 3 repeats that were asked for gave no record; *"]
    )
    changes = gate_of(suite)["changes"]
    assert {(one["verdict"], one["doubt"]) for one in changes} == {("inconclusive", "missing")}


def test_an_interrupted_session_stays_interrupted(suite: EchoSuite) -> None:
    """Its exit code says more than a comparison of what was measured until then."""
    promoted(suite)
    suite.pytester.makepyfile(test_it=STOPS.format(before="raise KeyboardInterrupt", after="pass"))
    result = suite.run_apart("--stack=echo", ONNX, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["servebench gate: nothing was measured, so nothing was compared with main*"])


def test_a_failed_test_is_judged_all_the_same(suite: EchoSuite) -> None:
    """Its record is kept, so a regression of it is told beside its own failure."""
    promoted(suite)
    suite.write(stacks=SLOW, test=STOPS.format(before="pass", after="assert case.repeat != 2"))
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"passed": 3, "failed": 1}
    result.stdout.fnmatch_lines(["regression: *: p50 *4 v 3 repeats*"])


RERUN = """
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if "case" not in item.fixturenames:
        return None
    for number in range(4):
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            if report.when == "call" and number < 3:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
    return True

def pytest_report_teststatus(report):
    return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None
"""


def test_a_test_that_is_run_again_is_no_further_replicate(suite: EchoSuite) -> None:
    """Four tries on one server prove nothing: the last one's record and entries stand."""
    promoted(suite)
    suite.write(more=RERUN)
    result = run(suite, *AGAINST, "--serve-repeats=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["inconclusive: *: 4 v 1 repeats give no p below 0.2; *"])
    tries = [entry["fullname"] for entry in suite.json["benchmarks"]]
    assert (len(suite.json["servebench"]["records"]), len(tries)) == (1, len(set(tries)))


def test_a_measurement_of_a_fixture_is_no_further_replicate(suite: EchoSuite) -> None:
    """It is the test's first, and what the test measures its second, a case of its own."""
    fixture = """
import pytest

@pytest.fixture
def warm(servebench, case):
    return servebench.measure(case)

@pytest.mark.servebench(concurrency=2)
def test_speed(servebench, case, warm):
    servebench.measure(case)
"""
    suite.write(test=fixture)
    assert suite.run("--stack=echo", ONNX).ret == pytest.ExitCode.OK
    assert [record["measurement"] for record in suite.json["servebench"]["records"]] == [1, 2]


def test_the_gate_needs_no_pytest_benchmark(suite: EchoSuite) -> None:
    """Nothing is saved then, and everything judged."""
    promoted(suite)
    suite.write(stacks=SLOW)
    result = run(suite, *AGAINST, THREE, "-p", "no:benchmark")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["regression: *: p50 *", "*: failed"])


@pytest.mark.parametrize(("severity", "code"), [("auto", 1), ("fail", 1), ("warn", 0)])
def test_a_short_run_measures_nothing(suite: EchoSuite, severity: str, code: int) -> None:
    """With --benchmark-disable there is nothing to compare, and that is as green as the user wants it."""
    promoted(suite)
    result = suite.run(
        "--stack=echo", ONNX, *AGAINST, "--benchmark-disable", f"--serve-inconclusive={severity}"
    )
    assert result.ret == code
    result.stdout.fnmatch_lines(["servebench gate: nothing was measured, so nothing was compared with main*"])


def test_looking_at_what_would_run_judges_nothing(suite: EchoSuite) -> None:
    """--collect-only measures nothing, and is no failed gate."""
    promoted(suite)
    result = run(suite, *AGAINST, THREE, "--collect-only")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("servebench gate: *")


def test_other_tests_know_no_gate(suite: EchoSuite) -> None:
    """A baseline in the settings does not fail a session that was asked for no case."""
    promoted(suite)
    result = run(suite, *AGAINST, THREE, "-k", "plain")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("servebench gate: *")


def test_another_machine_is_named_and_may_be_allowed(suite: EchoSuite) -> None:
    """A different CPU is inconclusive with both names, unless the user allows it."""
    promoted(suite)
    path = suite.pytester.path / ".servebench" / "baselines" / "main.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["measured"]["of_all"]["machine"]["cpu"] = "Abacus 2000"
    path.write_text(json.dumps(content), encoding="utf-8")
    result = run(suite, *AGAINST, THREE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["inconclusive: *: p50, throughput: cpu was Abacus 2000, is *; *--serve-allow-different=cpu"]
    )
    result = run(suite, *AGAINST, THREE, "--serve-allow-different=cpu")
    assert result.ret == pytest.ExitCode.OK


def test_a_saved_run_may_be_the_baseline_by_its_path(suite: EchoSuite) -> None:
    """Two commits measured in one job need no promotion."""
    path = measured(suite, FAST)
    suite.write(stacks=SLOW)
    result = run(suite, THREE, f"--serve-baseline={path}", "--serve-fail=p50:80%")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["servebench baseline: before (measured 20*, 4 repeats, 1 case)", "regression: *: p50 *"]
    )


def test_a_baseline_in_the_settings_can_be_left_out(suite: EchoSuite) -> None:
    """Somebody has to be able to measure the first one, or a new one."""
    suite.write()
    suite.pytester.makepyprojecttoml(
        '[tool.servebench]\nbaseline = "main"\nfail = "p50:80%"\nstack = "echo"\nformat = "onnx"\n'
    )
    assert suite.run().ret == pytest.ExitCode.USAGE_ERROR
    result = suite.run("--serve-baseline=none")
    assert result.ret == pytest.ExitCode.OK
    assert len(suite.records) == 1
    result.stdout.no_fnmatch_line("servebench baseline: *")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one-process", "a-worker"])
def test_junit_has_the_figures(suite: EchoSuite, workers: tuple[str, ...]) -> None:
    """Each measured case has its figures as properties; what was not measured is left out."""
    suite.write(stacks=FAST)
    run(suite, "--junitxml=junit.xml", "--benchmark-json=out.json", *workers)
    text = (suite.pytester.path / "junit.xml").read_text(encoding="utf-8")
    (record,) = suite.records.values()
    p95_ms = record["response_time_ms"]["p95"]
    assert f'<property name="servebench_p95_ms" value="{p95_ms}"' in text
    assert '<property name="servebench_validity" value=' in text
    assert "servebench_images_per_s" in text
    assert "servebench_gpu_utilization_percent" not in text
    assert 'value="None"' not in text
