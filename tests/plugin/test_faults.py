"""Whole sessions through pytest, with servers that misbehave: what the user is told, and what goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.process import ProcessLauncher, ProcessServer
from tests.echo_house import ONNX as ONNX_FORMAT
from tests.echo_house import deployment
from tests.echo_stack import Echo, echo_artifact
from tests.plugin.echo_suite import ONNX, SPEED, EchoSuite, echo_suite

PATIENCE = """
from dataclasses import replace
import pytest

@pytest.mark.servebench(concurrency=2)
def test_speed(servebench, case):
    servebench.measure(replace(case, load=replace(case.load, timeout_s=0.5)))
"""
"""A benchmark whose requests time out soon."""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def elapsed_s(began_ns: int) -> float:
    """Return the seconds since then."""
    return (MonotonicClock().now_ns() - began_ns) / 1e9


def by_format(suite: EchoSuite) -> dict[str, str]:
    """Return the validity of each case's record by its format."""
    return {record["case"]["format"]: record["validity"] for record in suite.records.values()}


@pytest.mark.parametrize(
    ("fault", "items", "sentence"),
    [
        ("wrong_image=5", 1, "1 of 16 answers before the load *: answer 0 is not that of image 5*"),
        ("mixes_up=True", 2, "16 of 16 answers *: answer 0 belongs to image 1, *; *out of order"),
        ("wrong_image=2, wrong_after=2", 16, "* answers compared *: answer 2 is not that of image 2*"),
    ],
    ids=["wrong", "mixed up", "wrong under load"],
)
def test_wrong_output_is_never_published(suite: EchoSuite, fault: str, items: int, sentence: str) -> None:
    """The test fails and says which answer is wrong; no figure of it is anywhere, its record is."""
    suite.write(
        test=SPEED.replace("concurrency=2", f"concurrency=2, items_per_request={items}"),
        stacks=f"Echo(faults=Faults({fault}))",
    )
    result = suite.run("--stack=echo", ONNX, "--serve-batch-size=16")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"echo-onnx-*: wrong_output: {sentence}", "echo*onnx*n/a*n/a*wrong_output*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert suite.json["benchmarks"] == []
    (record,) = suite.records.values()
    assert record["validity"] == "wrong_output"
    assert record["throughput_per_s"] is None
    mismatches = [one["mismatch_count"] for one in record["verification"].values() if one]
    assert sum(mismatches) >= 1


def test_a_server_that_dies_in_a_load_takes_nobody_along(suite: EchoSuite) -> None:
    """Its case is ``errors`` with exit code and last words; the next case and the other stack go on."""
    dying = "faults=Faults(dies_after=80, only='resnet50_onnx')"
    suite.write(stacks=f"Echo({dying}), ControlledEcho({dying})")
    result = suite.run("--stack=echo,controlled")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "echo-onnx-*: errors: the server ended by itself with exit code 7: * requests *failed*",
            "*- last log lines of echo -*",
            "I lost my model",
            "echo*onnx*n/a*errors*",
            "echo*pytorch*valid, ungated",
            "controlled*onnx*n/a*errors*",
            "controlled*pytorch*valid, ungated",
        ]
    )
    records = suite.records.values()
    assert [record["validity"] for record in records] == ["errors", "valid"] * 2
    assert all(record["counts"]["errors"] for record in records if record["validity"] == "errors")


def test_a_server_that_dies_in_its_warm_up_is_errors_too(suite: EchoSuite) -> None:
    """A load that never came to its window has a record all the same."""
    suite.write(stacks="Echo(faults=Faults(dies_after=18))")
    suite.run("--stack=echo", ONNX, "--serve-warmup=1").assert_outcomes(passed=1, failed=1)
    assert by_format(suite) == {"onnx": "errors"}


def test_a_server_that_hangs_ends_by_its_time_out(suite: EchoSuite) -> None:
    """No endless wait: its case is ``errors``, and the next one gets a fresh server and is measured."""
    suite.write(test=PATIENCE, stacks="ControlledEcho(faults=Faults(hangs_after=30, only='resnet50_onnx'))")
    began_ns = MonotonicClock().now_ns()
    result = suite.run("--stack=controlled")
    assert elapsed_s(began_ns) < 10
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["controlled-onnx-*: errors: * time-outs*"])
    assert by_format(suite) == {"onnx": "errors", "pytorch": "valid"}
    assert suite.records["controlled-pytorch-tensor-http-b1-i1-c2"]["cold_start_s"] is not None


@pytest.mark.parametrize(
    ("every", "sentence"), [(3, "*status 500: *out of memory*"), (23, "*1 errors,*HTTP 500*")]
)
def test_a_server_that_fails_some_requests_is_errors(suite: EchoSuite, every: int, sentence: str) -> None:
    """Failures are counted and named, whether verification meets them or the load."""
    suite.write(stacks=f"Echo(faults=Faults(fails_every={every}))")
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["echo-onnx-*: errors: *"])
    assert by_format(suite) == {"onnx": "errors"}
    (record,) = suite.records.values()
    if every > 16:
        assert record["counts"]["errors"] >= 1
        assert "500" in record["first_error"]
    else:
        assert "status 500" in record["reason"]
        assert record["counts"]["errors"] is None


def test_a_server_that_does_not_start_fails_its_tests_and_no_others(suite: EchoSuite) -> None:
    """Exit code and last log lines, no traceback; the other stack is measured."""
    suite.write(stacks='Echo(name="broken", faults=Faults(exits_at_start=True)), Echo()')
    result = suite.run("--stack=broken,echo", ONNX)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "broken ended by itself with exit code 3 before it was ready",
            "  where: log *server.log",
            "  seen: it ended; the last lines of its log:",
            "    I cannot find my model",
            "  next: *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert [record["case"]["stack"] for record in suite.records.values()] == ["echo"]


def test_a_server_that_is_never_ready_costs_its_deadline_once(suite: EchoSuite) -> None:
    """All cases of the stack fail with the same words; only the first one waits."""
    suite.write(stacks="ControlledEcho(faults=Faults(never_ready=True), deadline_s=0.5), Echo()")
    result = suite.run("--stack=controlled,echo", ONNX, "--serve-batch-size=1,2,4")
    result.assert_outcomes(passed=4, failed=3)
    result.stdout.fnmatch_lines(
        ["controlled was not ready after 0.5 s and was ended", "*last answer: 503 Echo*"]
    )
    result.stdout.no_fnmatch_line("*During handling of*")
    starts = list(Path(os.environ["PYTEST_DEBUG_TEMPROOT"]).glob("**/servers0/*controlled"))
    assert len(starts) == 1, "one folder for one launch"


def test_a_model_that_is_refused_fails_its_own_cases(suite: EchoSuite) -> None:
    """What the server said and its log are shown, and its other models are measured."""
    suite.write(stacks="ControlledEcho(faults=Faults(refuses='resnet50_onnx'))")
    result = suite.run("--stack=controlled")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "controlled refused to load resnet50_onnx",
            "  where: POST /load/resnet50_onnx",
            '  seen: status 400: "resnet50_onnx does not fit"',
            "load resnet50_onnx",
        ]
    )
    assert by_format(suite) == {"pytorch": "valid"}


def test_an_assertion_of_the_tests_own_does_not_hide_why(suite: EchoSuite) -> None:
    """A benchmark that asserts on an invalid run fails by its assertion, with our reason below it."""
    suite.write(
        test="""
        import pytest

        @pytest.mark.servebench()
        def test_fast(servebench, case):
            assert servebench.measure(case).summary is not None
        """,
        stacks="Echo(faults=Faults(wrong_image=0))",
    )
    suite.run("--stack=echo", ONNX).stdout.fnmatch_lines(
        [
            "*AssertionError*",
            "*- servebench -*",
            "echo-onnx-*: wrong_output: *",
            "*- last log lines of echo -*",
            "serving resnet50_onnx",
        ]
    )


def test_a_test_that_is_run_again_is_judged_anew(suite: EchoSuite) -> None:
    """What the first try was told is no reason for the second to fail."""
    again = """
from _pytest.runner import runtestprotocol

verdicts = [Judgement.FAIL, Judgement.PASS]

@pytest.hookimpl(tryfirst=True)
def pytest_servebench_gate(result, thresholds):
    return Verdict(judgement=verdicts.pop(0), reason="as was told")

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if "case" not in item.fixturenames:
        return None
    tries = [runtestprotocol(item, nextitem=nextitem, log=False) for _ in range(2)]
    assert [report.outcome for report in tries[0]] == ["passed", "failed", "passed"]
    for report in tries[1]:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
    suite.write(more=again)
    suite.run("--stack=echo", ONNX).assert_outcomes(passed=2)


def test_a_failing_test_is_not_shown_another_servers_log(suite: EchoSuite) -> None:
    """Log lines come from the stack of the case that failed, or not at all."""
    suite.write(
        test="""
        import pytest

        @pytest.mark.servebench()
        def test_nothing(servebench, case):
            if case.stack == "controlled":
                pytest.fail("before its server was up")
            servebench.measure(case)
        """,
        stacks="Echo(), ControlledEcho()",
    )
    result = suite.run("--stack=echo,controlled", ONNX)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*last log lines*")


def test_an_attached_server_that_is_not_there(suite: EchoSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is named, with what was seen there and what to do, once for all cases."""
    monkeypatch.setattr("pytest_servebench.session.AttachLauncher", _impatient)
    suite.write()
    result = suite.run("--stack=echo=http://127.0.0.1:9")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "servebench attached: echo at http://127.0.0.1:9",
            "no echo server is ready at http://127.0.0.1:9",
            "  seen: last answer after 0.1 s: connection refused",
        ]
    )


def _impatient(url: str) -> object:
    from pytest_servebench.launchers.attach import AttachLauncher

    return AttachLauncher(url, deadline_s=0.1)


def test_an_attached_server_is_asked_and_left_alone(suite: EchoSuite, tmp_path: Path) -> None:
    """A stack that could load models does not tell a stranger's server to, nor end it."""
    spec = Echo().launch_spec(
        [deployment()], {deployment().served_name: echo_artifact("resnet50", ONNX_FORMAT)}
    )
    theirs = ProcessLauncher().start("theirs", spec, tmp_path / "theirs")
    try:
        suite.write(stacks="ControlledEcho()")
        address = theirs.endpoint.authority()
        result = suite.run(f"--stack=controlled=http://{address}", ONNX)
        result.assert_outcomes(passed=2)
        assert theirs.exit_code() is None
        assert theirs.log_tail() == "serving resnet50_onnx"
    finally:
        theirs.stop()
    (record,) = suite.records.values()
    assert record["launcher"] == "attach"
    assert record["backend"] == "not known: attached server"
    assert record["cold_start_s"] is None
    assert record["telemetry"]["server_memory_bytes"] is None


def test_a_server_that_cannot_be_ended_is_not_passed_over(
    suite: EchoSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session fails and says which process is left, and everything else is saved and shown."""
    ended = ProcessServer.stop

    def stop(server: ProcessServer) -> None:
        ended(server)
        raise LaunchError("a server could not be ended", where=f"process {server.endpoint.pid}")

    monkeypatch.setattr(ProcessServer, "stop", stop)
    suite.write()
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["echo*onnx*valid*", "a server could not be ended", "  where: process *"])
    assert by_format(suite) == {"onnx": "valid"}
