"""The staged load test, from the option to the table: real sessions with echo servers, short stages.

Nothing here depends on how fast this machine is: objectives are far from what an echo server does, and
how late the client was is left out of account.
"""

from __future__ import annotations

import pytest

from pytest_servebench.staged import judged
from pytest_servebench.statistics import summary
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

PROFILE = """
import pytest

@pytest.mark.servebench(arrivals="staged")
def test_profile(servebench, case):
    servebench.measure(case)

@pytest.mark.servebench(arrivals="closed")
def test_busy(servebench, case):
    servebench.measure(case)
"""
STAGES = "--serve-arrivals=stages:0:100ms:150,700ms:150,100ms:300,500ms:300,100ms:0"
TIMES = ("--serve-duration=1.45", "--serve-warmup=0.05")
"""Together as long as the stages, so that they stay as they are."""
EASY = "--serve-objective=p50<=60s,errors<50%"
IMPOSSIBLE = "--serve-objective=p50<=1us"
ONLY = ("-k", "profile")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite whose client is never too late."""
    for room in (summary, judged):
        monkeypatch.setattr(room, "late_client", lambda _summary, _limits: "")
    found = echo_suite(pytester, monkeypatch)
    found.write(PROFILE)
    return found


def run(suite: EchoSuite, *arguments: str) -> pytest.RunResult:
    """Run the profile on the echo stack."""
    return suite.run("--stack=echo", ONNX, *TIMES, *ONLY, *arguments)


def test_every_hold_that_meets_the_objective_makes_a_pass(suite: EchoSuite) -> None:
    """Ramps are shown and not judged; nothing else has to be given."""
    result = run(suite, STAGES, EASY)
    result.assert_outcomes(passed=1, deselected=1)
    (record,) = suite.records.values()
    stages = record["stages"]
    assert [stage["kind"] for stage in stages] == ["ramp", "hold", "ramp", "hold", "ramp"]
    assert [stage["verdict"] for stage in stages] == [
        "not judged",
        "pass",
        "not judged",
        "pass",
        "not judged",
    ]
    assert record["verdict"]["judgement"] == "pass"
    assert record["load"]["objective"] == "p50<=60s,errors<50%"
    assert [stage["counts"]["offered"] for stage in stages[1::2]] == pytest.approx([105, 150], abs=1)
    assert stages[3]["checks"]["status_share"] == 1.0
    assert sum(stage["checks"]["predictions_compared"] for stage in stages) >= 8
    result.stdout.fnmatch_lines(["*by stage; holds must have p50<=60s,errors<50%*", "*2 hold*pass*"])


def test_a_hold_that_misses_it_fails_the_test_in_one_line_and_is_recorded(suite: EchoSuite) -> None:
    """The exit code is that of any breach; every failed stage has a line, ramps none."""
    result = run(suite, STAGES, IMPOSSIBLE)
    result.assert_outcomes(failed=1, deselected=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = [line for line in result.outlines if line.startswith("echo-onnx-") and "missed p50<=1us" in line]
    # A CI run prints them once more, in its summary.
    assert list(dict.fromkeys(line.partition(": ")[2].partition(" (")[0] for line in lines)) == [
        "stage 2",
        "stage 4",
    ]
    (record,) = suite.records.values()
    assert record["verdict"]["judgement"] == "fail"
    breaches = record["verdict"]["breaches"]
    assert [breach["metric"] for breach in breaches] == [f"stage_{n}_response_time_p50_ms" for n in (2, 4)]
    p50s_ms = [record["stages"][place]["response_time_ms"]["p50"] for place in (1, 3)]
    assert [(breach["limit"], breach["seen"]) for breach in breaches] == [(0.001, p50) for p50 in p50s_ms]
    assert record["response_time_ms"]["p95"] is not None


def test_too_few_requests_are_no_pass(suite: EchoSuite) -> None:
    """A quick look at a profile proves nothing, and says how many requests would."""
    result = run(suite, "--serve-arrivals=stages:10:1500ms:10", "--serve-objective=p95<=60s")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["echo-onnx-*: inconclusive: stage 1 (hold at 10/s): p95<=60s is undecided: 0 of * requests*"]
    )


def test_a_run_that_failed_enough_ends_early_when_that_is_asked_for(suite: EchoSuite) -> None:
    """What would have come after it was not run, and is not judged."""
    stages = "--serve-arrivals=stages:0:100ms:150,3s:150,100ms:300,30s:300"
    lasting = ("--serve-duration=33.1", "--serve-warmup=0.1")
    result = run(suite, stages, IMPOSSIBLE, "--serve-abort-on-fail=200ms", *lasting)
    result.assert_outcomes(failed=1, deselected=1)
    (record,) = suite.records.values()
    assert [stage["verdict"] for stage in record["stages"]] == ["fail", "not run", "not run"]
    assert 0 < record["stages"][0]["ran_s"] < 3
    assert record["load"]["abort_after_s"] == 0.2


def test_auto_measures_a_capacity_and_says_what_it_made_of_it(suite: EchoSuite) -> None:
    """The name tells that the rates were not given; the record has the capacity and the factor."""
    result = run(suite, STAGES, EASY, "--serve-load-scale=auto")
    result.assert_outcomes(passed=1, deselected=1)
    ((name, record),) = suite.records.items()
    assert record["load"]["arrivals"].endswith(" x auto")
    assert name.endswith("-x-auto")
    scaling, holds = record["scaling"], record["stages"][1::2]
    assert scaling["in_flight"] == 2
    assert scaling["factor"] * 300 == pytest.approx(0.7 * scaling["capacity_per_s"], rel=1e-3)
    assert [stage["end_per_s"] for stage in holds] == pytest.approx(
        [scaling["factor"] * rate for rate in (150, 300)]
    )
    result.stdout.fnmatch_lines(["*; rates x *: 70% of */s, seen with 2 in flight just before"])


def test_it_waits_until_it_is_asked_for_and_says_how(suite: EchoSuite) -> None:
    """Sixteen minutes are nobody's default."""
    result = suite.run("--stack=echo", ONNX)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["servebench: test_profile needs a staged load and was not run. *"])


def test_arrivals_without_stages_do_not_make_one(suite: EchoSuite) -> None:
    """A constant rate is test_open_loop's."""
    result = suite.run("--stack=echo", ONNX, "--collect-only", "--serve-arrivals=poisson:50")
    result.stdout.fnmatch_lines(["*1/2 tests collected (1 deselected)*"])
