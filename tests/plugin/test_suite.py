"""Whole sessions through pytest: from ``--stack`` to the table, with servers that behave."""

from __future__ import annotations

import signal

import pytest

from pytest_servebench.options.option import OPTIONS
from tests.plugin.echo_suite import ONNX, SPEED, EchoSuite, echo_suite

TWO_STACKS = "Echo(), ControlledEcho()"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def test_a_session_from_header_to_table(suite: EchoSuite) -> None:
    """One command: the header says what is served where and why, every case passes, the table ends it."""
    suite.write(stacks=TWO_STACKS)
    before = signal.getsignal(signal.SIGTERM)
    result = suite.run("--stack=echo,controlled", "-v")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(
        [
            "servebench model: resnet50, weights *",
            "servebench device: cpu (*)",
            "servebench launcher: process (*)",
            "servebench stacks: echo, controlled",
            "servebench machine: * cores, *",
            "test_it.py::test_plain PASSED *",
            "test_it.py::test_speed[[]echo-onnx-tensor-http-b1-i1-c2] PASSED *",
            "test_it.py::test_speed[[]echo-pytorch-tensor-http-b1-i1-c2] PASSED *",
            "test_it.py::test_speed[[]controlled-onnx-tensor-http-b1-i1-c2] PASSED *",
            "test_it.py::test_speed[[]controlled-pytorch-tensor-http-b1-i1-c2] PASSED *",
            "=* servebench *=",
            "test_speed: resnet50, tensor over http, 1 per request, 2 in flight, *",
            "stack*format*images/s*verdict",
            "echo*onnx*valid, ungated",
            "controlled*pytorch*valid, ungated",
            "ungated: 4 of 4 cases: no absolute limits: no thresholds.toml lies *--serve-thresholds",
        ]
    )
    assert signal.getsignal(signal.SIGTERM) == before
    record = suite.records["echo-onnx-tensor-http-b1-i1-c2"]
    assert record["validity"] == "valid"
    assert record["launcher"] == "process"
    assert record["backend"] == "echo of the images' numbers"
    assert record["cold_start_s"] > 0
    assert suite.records["controlled-pytorch-tensor-http-b1-i1-c2"]["cold_start_s"] is None
    assert len(suite.json["benchmarks"]) == 3 * 4


def test_without_a_stack_benchmarks_are_left_out_and_tests_run(suite: EchoSuite) -> None:
    """Nothing is measured by accident, the run says how to choose, and names what can be chosen."""
    suite.write(
        test="""
        import pytest

        @pytest.mark.parametrize("colour", ["red", "blue"])
        @pytest.mark.servebench()
        def test_speed(servebench, case, colour):
            servebench.measure(case)

        def test_by_hand(servebench):
            servebench.measure(None)

        def test_plain():
            pass
        """,
    )
    result = suite.run()
    result.assert_outcomes(passed=1, skipped=1, deselected=2)
    result.stdout.fnmatch_lines(
        ["servebench: 2 benchmarks were not run, because *, or --stack=fastapi,triton,torchserve,echo; *"]
    )
    result.stdout.no_fnmatch_line("servebench device*")


def test_workers_without_a_stack_say_how_to_choose_too(suite: EchoSuite) -> None:
    """With ``-n`` the controller collects nothing, and says it all the same."""
    suite.write()
    result = suite.run_apart("-n2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["servebench: 1 benchmark was not run*"])


def test_an_unknown_stack_is_a_usage_error(suite: EchoSuite) -> None:
    """The message names what is offered, built-in and from conftest alike, before anything runs."""
    suite.write()
    result = suite.run("--stack=echoo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --stack does not know 'echoo': did you mean echo?",
            "  next: use one of: fastapi, triton, torchserve, echo, all, available",
        ]
    )


def test_help_shows_every_option(suite: EchoSuite) -> None:
    """``pytest --help`` of the installed plugin shows options and ini keys."""
    suite.write()
    text = suite.run("--help").stdout.str()
    assert all(option.flag in text and option.ini in text for option in OPTIONS)


def test_the_marker_is_known(suite: EchoSuite) -> None:
    """``pytest --markers`` explains it, and ``--strict-markers`` knows it."""
    suite.write()
    suite.run("--markers").stdout.fnmatch_lines(["@pytest.mark.servebench(*): run the test once per case *"])
    suite.run("--strict-markers", "--stack=echo", ONNX, "--collect-only", "-q").stdout.fnmatch_lines(
        ["test_it.py::test_speed[[]echo-onnx-tensor-http-b1-i1-c2]"]
    )


def test_two_stacks_of_one_name_are_a_usage_error(suite: EchoSuite) -> None:
    """Both owners are named."""
    suite.write(stacks='Echo(), ControlledEcho(name="echo")')
    result = suite.run("--stack=echo")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: two stacks are called 'echo'",
            "  seen: tests.echo_stack.Echo and tests.echo_stack.ControlledEcho",
        ]
    )


def test_a_stack_that_lacks_something_says_what_to_install(suite: EchoSuite) -> None:
    """By name it is an error; ``available`` leaves it out and says why in the header."""
    suite.write(
        stacks='Echo(), Echo(name="bare", lacks=(BARE,))',
        more="""
from pytest_servebench.plan import MissingPiece
BARE = MissingPiece(what="the package bare", remedy="pip install bare")
""",
    )
    result = suite.run("--stack=bare")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*bare cannot run here", "  seen: bare: the package bare is missing; pip install bare"]
    )
    result = suite.run("--stack=available", "-k", "echo-onnx")
    result.stdout.fnmatch_lines(
        ["servebench left out: *bare (the package bare is missing; pip install bare)"]
    )


def test_a_wrong_marker_is_a_collection_error_without_a_traceback(suite: EchoSuite) -> None:
    """What is wrong, in which test, and what is allowed."""
    suite.write(test=SPEED.replace("concurrency=2", "concurency=2"))
    result = suite.run("--stack=echo")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "the marker servebench does not know 'concurency': did you mean concurrency?",
            "  where: test_it.py::test_speed",
            "  next: allowed: concurrency, items_per_request, *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*plugin.py*")


def test_limits_that_cannot_be_read_stop_the_run_at_its_start(suite: EchoSuite) -> None:
    """An unknown key is a usage error with its line, not a failure after each load."""
    suite.write()
    suite.limits(p95_msec=5)
    for arguments in ((), ("--serve-thresholds=thresholds.toml",)):
        result = suite.run("--stack=echo", *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: unknown key 'p95_msec'*", "  where: *thresholds.toml, line 6"])


def test_limits_that_cannot_be_read_are_told_by_workers_too(suite: EchoSuite) -> None:
    """With ``-n`` only workers see the file beside the tests: each benchmark says it, unmeasured."""
    suite.write()
    suite.limits(p95_msec=5)
    result = suite.run_apart("--stack=echo", ONNX, "-n1")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["unknown key 'p95_msec'*", "  where: *thresholds.toml, line 6"])
    result.stdout.no_fnmatch_line("INTERNALERROR*")
    assert not (suite.pytester.path / "out.json").exists()


def test_a_breach_fails_just_that_test_and_keeps_its_record(suite: EchoSuite) -> None:
    """No traceback: limit, seen, by how much; the record and the table have the verdict."""
    suite.write()
    suite.limits(p95_ms=0.5, images_per_s=1)
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "echo-onnx-*: response_time_p95_ms * ms is *% above the limit 0.5 ms (profile here)",
            "*last log lines of echo*",
            "*serving resnet50_onnx",
            "echo*onnx*valid, fail",
            "breach: *above the limit 0.5 ms (profile here)",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*def test_speed*")
    (record,) = suite.records.values()
    assert record["verdict"]["judgement"] == "fail"
    (breach,) = record["verdict"]["breaches"]
    assert breach["limit"] == 0.5
    assert breach["seen"] == record["response_time_ms"]["p95"]


def test_limits_that_hold_pass(suite: EchoSuite) -> None:
    """A case within its limits is valid and passes the gate."""
    suite.write()
    suite.limits(p95_ms=20_000, images_per_s=0.1)
    result = suite.run("--stack=echo", ONNX, "--serve-require-thresholds")
    result.assert_outcomes(passed=2)
    assert [record["verdict"]["judgement"] for record in suite.records.values()] == ["pass"]


def test_ungated_is_said_and_can_be_made_to_fail(suite: EchoSuite) -> None:
    """A case no limit speaks of passes with a note; with ``--serve-require-thresholds`` it fails."""
    suite.write()
    (suite.pytester.path / "thresholds.toml").write_text(
        '[profiles.far]\ndevice = "cuda"\n\n[[limits]]\nprofile = "far"\nstack = "tritonn"\np95_ms = 1\n'
    )
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "ungated: 1 of 1 cases: no profile of *thresholds.toml matches cpu, *; it has: far",
            "note: *thresholds.toml has limits for stacks that nobody offers: tritonn",
        ]
    )
    result = suite.run("--stack=echo", ONNX, "--serve-require-thresholds")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["echo-onnx-*: ungated, and limits are required: no profile of *"])


def test_hooks_of_others_take_effect(suite: EchoSuite) -> None:
    """Limits, gate, record and report can all be had by a conftest."""
    suite.write(
        more="""
def pytest_servebench_thresholds(config, case):
    return (Threshold(metric="images_per_s", limit=7.0, at_most=False, profile="mine"),)

def pytest_servebench_gate(config, result, thresholds):
    if result.case.deployment.format is ModelFormat.ONNX:
        limits = [limit.limit for limit in thresholds]
        return Verdict(judgement=Judgement.FAIL, reason=f"the committee of {limits} says no")

def pytest_servebench_update_record(config, record):
    record["weather"] = f"fine with {record['case']['format']}"

def pytest_servebench_report(config, records):
    lines = [f"{r['case']['id']} {r['weather']} {r['throughput_per_s'] > 0}" for r in records]
    (config.rootpath / "report.txt").write_text("\\n".join(lines))
""",
    )
    result = suite.run("--stack=echo")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["echo-onnx-*: the committee of [[]7.0] says no"])
    verdicts = {record["case"]["format"]: record["verdict"] for record in suite.records.values()}
    assert verdicts["onnx"]["reason"] == "the committee of [7.0] says no"
    assert verdicts["pytorch"]["judgement"] == "pass"
    assert (suite.pytester.path / "report.txt").read_text().splitlines() == [
        "echo-onnx-tensor-http-b1-i1-c2 fine with onnx True",
        "echo-pytorch-tensor-http-b1-i1-c2 fine with pytorch True",
    ]


def test_a_gate_of_others_may_say_ungated_for_its_own_reason(suite: EchoSuite) -> None:
    """Its reason is kept, not replaced by ours."""
    suite.write(
        more="""
def pytest_servebench_gate(config, result, thresholds):
    return Verdict(judgement=Judgement.UNGATED, reason="it is Sunday")
""",
    )
    suite.run("--stack=echo", ONNX).stdout.fnmatch_lines(["ungated: 1 of 1 cases: it is Sunday"])


def test_a_gate_that_breaks_does_not_lose_the_record(suite: EchoSuite) -> None:
    """Record first, then judge: a fault in somebody's hook fails the test and keeps the measurement."""
    suite.write(more="\ndef pytest_servebench_gate(config, result, thresholds):\n    return 1 / 0\n")
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])
    (record,) = suite.records.values()
    assert record["verdict"] is None
    assert record["throughput_per_s"] > 0


def test_one_json_for_all_workers(suite: EchoSuite) -> None:
    """With ``-n 2`` each case runs on some worker, and the controller records, reports and shows it once."""
    suite.write(
        stacks=TWO_STACKS,
        more="""
def pytest_servebench_report(config, records):
    assert not hasattr(config, "workerinput")
    (config.rootpath / "report.txt").write_text(" ".join(sorted(r["case"]["id"] for r in records)))
""",
    )
    suite.limits(p95_ms=0.01)
    result = suite.run_apart("--stack=echo,controlled", "-n2", "--serve-thresholds=thresholds.toml")
    result.assert_outcomes(passed=1, failed=4)
    assert len(suite.records) == len(suite.json["servebench"]["records"]) == 4
    assert {record["worker"] for record in suite.records.values()} <= {"gw0", "gw1"}
    result.stdout.fnmatch_lines(["servebench stacks: echo, controlled", "controlled*pytorch*valid, fail"])
    assert (suite.pytester.path / "report.txt").read_text().split() == sorted(suite.records)


def test_without_pytest_benchmark_the_table_stays(suite: EchoSuite) -> None:
    """``-p no:benchmark``: cases run and are judged, the header says that nothing is saved."""
    suite.write()
    result = suite.run("--stack=echo", ONNX, "-p", "no:benchmark")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["record: nothing is saved, *", "echo*onnx*valid, ungated"])


def test_disabled_benchmarks_run_short_and_are_not_judged(suite: EchoSuite) -> None:
    """``--benchmark-disable``: a smoke run asks for right answers only; no record, no limit, no table."""
    suite.write()
    suite.limits(p95_ms=0.01)
    result = suite.run("--stack=echo", ONNX, "--benchmark-disable")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["record: nothing is recorded and loads are short (--benchmark-disable)"])
    result.stdout.no_fnmatch_line("*valid,*")
    assert not (suite.pytester.path / "out.json").exists()


def test_disabled_benchmarks_still_find_wrong_answers(suite: EchoSuite) -> None:
    """A smoke run fails for what a smoke run is for."""
    suite.write(stacks="Echo(faults=Faults(wrong_image=3))")
    suite.run("--stack=echo", ONNX, "--benchmark-disable").assert_outcomes(passed=1, failed=1)


def test_cases_of_a_users_own_making(suite: EchoSuite) -> None:
    """A test may make its cases itself, several in one, and each is recorded."""
    suite.write(
        test="""
        import pytest
        from pytest_servebench import Case, Deployment, Load, ModelFormat

        def made(batch):
            model = dict(stack="controlled", model="resnet50", format=ModelFormat.ONNX)
            deployment = Deployment(**model, max_batch_size=batch)
            return Case(deployment=deployment, load=Load(warmup_s=0, duration_s=0.2))

        @pytest.mark.parametrize("case", [made(3)])
        def test_by_parameter(servebench, case):
            servebench.measure(case)

        def test_by_hand(servebench):
            assert servebench.measure(made(4)).validity == "valid"
            assert servebench.measure(made(5)).validity == "valid"
        """,
        stacks=TWO_STACKS,
    )
    suite.run("--stack=controlled").assert_outcomes(passed=2)
    assert sorted(record["case"]["max_batch_size"] for record in suite.records.values()) == [3, 4, 5]
    names = [bench["name"] for bench in suite.json["benchmarks"]]
    assert len(names) == len(set(names)) == 9


def test_what_is_deselected_is_not_prepared(suite: EchoSuite) -> None:
    """A server is launched for the cases that run, not for those ``-k`` left out."""
    suite.write(
        stacks="Seen()",
        more="""
class Seen(ControlledEcho):
    def launch_spec(self, deployments, artifacts):
        (deployment,) = deployments
        return super().launch_spec(deployments, artifacts)
""",
    )
    suite.run("--stack=controlled", "-k", "pytorch").assert_outcomes(passed=1, deselected=2)


def test_asking_is_not_recorded(suite: EchoSuite) -> None:
    """A test that only asks compares names, and leaves no record."""
    suite.write(
        test="""
        import pytest

        @pytest.mark.servebench()
        def test_names(servebench, case):
            answers = servebench.ask(case)
            assert answers["image-3"].class_ids[0] == answers["image-3"].reference_class_id
        """,
    )
    result = suite.run("--stack=echo", ONNX, "-p", "no:benchmark")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("test_names: *")
