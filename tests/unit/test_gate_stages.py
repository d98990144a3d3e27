"""What the stages of a load say goes into the verdict on its case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.desk import complaint_of
from pytest_servebench.gate import METRICS, judge
from pytest_servebench.objective import parse_objective
from pytest_servebench.plan import Plan, Threshold
from pytest_servebench.results import CaseResult, Judgement, Validity
from pytest_servebench.samples import Outcome
from pytest_servebench.staged.judged import stage_results
from tests.made_up import made_up_case, made_up_result
from tests.staged_loads import Serving, between, quick, served, staged_load

LOAD = staged_load()


def result(serve: Serving = quick, *, until_s: float | None = None, **changes: Any) -> CaseResult:
    """Return the result of a staged load."""
    load = changes.pop("load", LOAD)
    stages = stage_results(served(load, serve, until_s=until_s), load)
    return made_up_result(case=replace(made_up_case(), load=load), stages=stages, **changes)


def limit(key: str, value: float) -> Threshold:
    """Return a limit by its key in the thresholds file."""
    metric = METRICS[key]
    return Threshold(metric=metric.field, limit=value, at_most=metric.at_most, profile="cpu")


def test_holds_that_passed_are_a_pass_without_any_limit() -> None:
    """The objective is a limit; no thresholds file is needed."""
    assert judge(result(), ()).judgement is Judgement.PASS


def test_each_failed_stage_is_a_breach_with_its_sentence() -> None:
    """One line for each in what the test says."""
    verdict = judge(result(between(0, 70, 90.0)), ())
    assert verdict.judgement is Judgement.FAIL
    assert [breach.metric for breach in verdict.breaches] == [
        "stage_2_response_time_p95_ms",
        "stage_4_response_time_p95_ms",
    ]
    assert [breach.sentence.partition(" missed")[0] for breach in verdict.breaches] == [
        "stage 2 (hold at 50/s)",
        "stage 4 (hold at 200/s)",
    ]
    assert [breach.limit for breach in verdict.breaches] == [50.0, 50.0]
    assert [breach.seen for breach in verdict.breaches] == pytest.approx([90.0, 90.0])
    lines = complaint_of(result(between(0, 70, 90.0)), verdict, Plan()).splitlines()
    assert [line.partition(": ")[2].partition(" (")[0] for line in lines] == ["stage 2", "stage 4"]


def test_each_limit_that_a_stage_missed_is_a_breach_with_its_own_figures() -> None:
    """A p50 is not compared with a p95, nor a share with a time; a limit that was held is no breach."""
    objective = parse_objective("p50<=10ms,p95<=100ms,p99<=60ms,errors<2%")
    refused = result(
        lambda due_s: Outcome.HTTP_ERROR if 15 <= due_s < 17 else between(40, 60, 90.0)(due_s),
        load=staged_load(objective=objective),
    )
    found = [(breach.metric, breach.limit, breach.seen) for breach in judge(refused, ()).breaches]
    assert found == [
        ("stage_2_response_time_p95_ms", 100.0, None),
        ("stage_2_response_time_p99_ms", 60.0, None),
        ("stage_2_error_share", 0.02, 0.1),
        ("stage_4_response_time_p50_ms", 10.0, 90.0),
        ("stage_4_response_time_p99_ms", 60.0, 90.0),
    ]
    sentences = [breach.sentence.partition(" (")[2] for breach in judge(refused, ()).breaches]
    assert sentences[2].startswith(
        "hold at 50/s) missed errors<2%: 100 of 1000 requests (10.0%) had no right"
    )
    assert sentences[3].startswith("hold at 200/s) missed p50<=10ms: p50 90 ms, 4000 of 4000 requests")


def test_limits_of_the_thresholds_file_count_as_well() -> None:
    """Whichever is missed."""
    assert judge(result(), [limit("p95_ms", 100)]).judgement is Judgement.PASS
    assert judge(result(), [limit("p95_ms", 1)]).judgement is Judgement.FAIL
    both = judge(result(between(40, 60, 90.0)), [limit("p95_ms", 1)])
    assert [breach.metric for breach in both.breaches] == [
        "stage_4_response_time_p95_ms",
        "response_time_p95_ms",
    ]


def test_an_undecided_or_missing_hold_is_no_pass() -> None:
    """Whatever the limits say."""
    verdict = judge(result(until_s=35.0), [limit("p95_ms", 100)])
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert verdict.reason == "stage 4 (hold at 200/s) was not run: the load ended before it"


def test_a_failed_hold_fails_a_run_with_errors_and_both_are_told() -> None:
    """Dropped arrivals are why it failed: that is an answer, not a doubt."""
    errors = result(between(40, 60, 90.0), validity=Validity.ERRORS, reason="9 arrivals were dropped")
    verdict = judge(errors, [limit("p95_ms", 1)])
    assert [breach.metric for breach in verdict.breaches] == ["stage_4_response_time_p95_ms"]
    assert [line.partition(": ")[2][:24] for line in complaint_of(errors, verdict, Plan()).splitlines()] == [
        "errors: 9 arrivals were ",
        "stage 4 (hold at 200/s) ",
    ]


def test_a_server_that_answers_wrongly_fails_no_stage() -> None:
    """How long wrong answers take is nothing to judge."""
    wrong = result(between(40, 60, 90.0), validity=Validity.WRONG_OUTPUT, reason="so it is")
    assert judge(wrong, ()).judgement is Judgement.INCONCLUSIVE


def test_a_late_client_does_not_hide_a_stage_that_failed_without_its_help() -> None:
    """The stage's own verdict has left its lateness out."""
    late = result(between(40, 60, 90.0), validity=Validity.CLIENT_LIMITED, reason="it was late")
    assert judge(late, ()).judgement is Judgement.FAIL


@pytest.mark.parametrize(
    "validity", [Validity.ERRORS, Validity.UNSTABLE, Validity.UNDECIDED, Validity.CLIENT_LIMITED]
)
def test_holds_that_passed_do_not_make_a_run_believed(validity: Validity) -> None:
    """What was dropped in a ramp is still somebody who got nothing."""
    verdict = judge(result(validity=validity, reason="so it is"), ())
    assert (verdict.judgement, verdict.reason) == (
        Judgement.INCONCLUSIVE,
        f"the run cannot be judged: {validity}: so it is",
    )


def test_without_an_objective_stages_have_no_word() -> None:
    """They are shown, and the case is as ungated as any other."""
    plain = result(between(0, 70, 900.0), load=staged_load(objective=None))
    assert judge(plain, ()).judgement is Judgement.UNGATED
    assert judge(plain, [limit("p95_ms", 100)]).judgement is Judgement.PASS
