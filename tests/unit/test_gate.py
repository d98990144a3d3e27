"""A result and its limits become a verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import PlanError
from pytest_servebench.gate import METRICS, judge
from pytest_servebench.plan import Case, Deployment, ModelFormat, Threshold
from pytest_servebench.results import CaseResult, Endpoint, Judgement, Summary, Validity

CASE = Case(deployment=Deployment(stack="triton", model="resnet50", format=ModelFormat.ONNX))
SUMMARY = Summary(
    window_s=5.0,
    correct=225,
    response_time_p50_ms=50.0,
    response_time_p95_ms=61.2,
    response_time_p99_ms=80.0,
    throughput_per_s=45.0,
    images_per_s=45.0,
)


def result(summary: Summary | None = SUMMARY, **rest: Any) -> CaseResult:
    """Return a valid result with this summary."""
    return CaseResult(
        **{
            "case": CASE,
            "endpoint": Endpoint(stack="triton", host="127.0.0.1", ports={}, launcher="process"),
            "backend": "",
            "weights": "",
            "validity": Validity.VALID,
            "summary": summary,
            **rest,
        },
    )


def limit(key: str, value: float) -> Threshold:
    """Return a limit by its key in the thresholds file."""
    metric = METRICS[key]
    return Threshold(metric=metric.field, limit=value, at_most=metric.at_most, profile="cpu")


def sentences(*limits: Threshold, summary: Summary = SUMMARY) -> list[str]:
    """Return what the breaches say."""
    return [breach.sentence for breach in judge(result(summary), limits).breaches]


def test_limits_that_are_held_pass() -> None:
    """A figure at its limit holds it, above for ceilings and below for floors alike."""
    limits = [limit("p95_ms", 61.2), limit("images_per_s", 45.0), limit("requests_per_s", 1)]
    verdict = judge(result(), limits)
    assert verdict.judgement is Judgement.PASS
    assert verdict.breaches == ()


def test_a_breach_says_metric_seen_limit_and_by_how_much() -> None:
    """The sentence can be printed as it is."""
    assert sentences(limit("p95_ms", 50)) == [
        "response_time_p95_ms 61.2 ms is 22.4% above the limit 50 ms (profile cpu)",
    ]
    assert sentences(limit("images_per_s", 60)) == [
        "images_per_s 45 images/s is 25.0% below the limit 60 images/s (profile cpu)",
    ]


def test_a_breach_by_a_hair_still_shows_two_numbers() -> None:
    """Rounding never prints a figure as equal to the limit it breaks."""
    close = replace(SUMMARY, response_time_p95_ms=50.00004)
    assert sentences(limit("p95_ms", 50), summary=close) == [
        "response_time_p95_ms 50.00004 ms is less than 0.1% above the limit 50 ms (profile cpu)",
    ]
    closest = replace(SUMMARY, response_time_p95_ms=math.nextafter(50, 51))
    assert "50.00000000000001 ms" in sentences(limit("p95_ms", 50), summary=closest)[0]


def test_a_limit_that_has_no_share_is_told_without_one() -> None:
    """No division by a limit of zero, no percentage of infinity."""
    assert sentences(limit("p95_ms", 0)) == [
        "response_time_p95_ms 61.2 ms is above the limit 0 ms (profile cpu)",
    ]
    endless = replace(SUMMARY, response_time_p95_ms=math.inf)
    assert sentences(limit("p95_ms", 5), summary=endless)[0].startswith(
        "response_time_p95_ms inf ms is above"
    )


def test_a_breach_keeps_its_numbers() -> None:
    """Reports and records need figures, not only words."""
    (breach,) = judge(result(), [limit("p50_ms", 40), limit("p99_ms", 90)]).breaches
    assert (breach.metric, breach.limit, breach.seen, breach.profile) == (
        "response_time_p50_ms",
        40,
        50.0,
        "cpu",
    )


def test_without_limits_it_is_ungated_not_passed() -> None:
    """No limit for this hardware is said, not passed over."""
    verdict = judge(result(), [])
    assert (verdict.judgement, verdict.reason) == (Judgement.UNGATED, f"no limit was given for {CASE.id}")
    assert judge(result(), [], ungated_reason="no profile matches").reason == "no profile matches"


@pytest.mark.parametrize("validity", [one for one in Validity if one is not Validity.VALID])
def test_a_run_that_is_not_valid_is_never_judged(validity: Validity) -> None:
    """Neither passed nor failed, whatever its figures say."""
    for value in (1e9, 1e-9):
        verdict = judge(result(validity=validity, reason="because"), [limit("p95_ms", value)])
        assert verdict.judgement is Judgement.INCONCLUSIVE
        assert verdict.reason == f"the run cannot be judged: {validity}: because"


@pytest.mark.parametrize("seen", [None, math.nan])
def test_a_missing_figure_is_inconclusive(seen: float | None) -> None:
    """Missing is not passing."""
    verdict = judge(
        result(replace(SUMMARY, response_time_p95_ms=seen)),
        [limit("p95_ms", 50), limit("p50_ms", 60)],
    )
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert verdict.reason == "no figure to compare with the limit: response_time_p95_ms"


def test_no_summary_and_no_number_for_a_limit_are_inconclusive() -> None:
    """Nothing can be compared with nothing."""
    assert judge(result(None), [limit("p95_ms", 50)]).judgement is Judgement.INCONCLUSIVE
    assert judge(result(), [limit("p95_ms", math.nan)]).judgement is Judgement.INCONCLUSIVE


def test_a_breach_outweighs_a_missing_figure() -> None:
    """A limit that is broken for sure fails, whatever else is not known."""
    part = replace(SUMMARY, images_per_s=None)
    verdict = judge(result(part), [limit("images_per_s", 1), limit("p95_ms", 50)])
    assert verdict.judgement is Judgement.FAIL
    assert len(verdict.breaches) == 1


def test_an_unknown_metric_is_the_hooks_mistake_and_named() -> None:
    """A misspelt metric from a hook cannot pass unseen."""
    wrong = Threshold(metric="response_time_p59_ms", limit=1, at_most=True, profile="mine")
    with pytest.raises(PlanError, match=r"did you mean response_time_p\d\d_ms\?\n  where: profile mine"):
        judge(result(), [wrong])


def test_every_metric_is_a_field_of_the_summary() -> None:
    """The table cannot name a figure that does not exist."""
    for metric in METRICS.values():
        assert metric.field in Summary.__dataclass_fields__


FIGURE = st.one_of(st.none(), st.floats(0.01, 1e6))


@given(
    st.fixed_dictionaries({metric.field: FIGURE for metric in METRICS.values()}),
    st.lists(st.tuples(st.sampled_from(list(METRICS)), st.floats(0.01, 1e6), st.floats(1, 100)), min_size=1),
)
def test_tightening_a_limit_never_turns_fail_into_pass(
    figures: dict[str, float | None],
    limits: list[tuple[str, float, float]],
) -> None:
    """A stricter gate lets nothing through that a looser one stopped."""
    seen = result(replace(SUMMARY, **figures))  # type: ignore[arg-type]
    loose = [limit(key, value) for key, value, _ in limits]
    tight = [limit(key, v / by if METRICS[key].at_most else v * by) for key, v, by in limits]
    if judge(seen, loose).judgement is Judgement.FAIL:
        assert judge(seen, tight).judgement is Judgement.FAIL
    if judge(seen, loose).judgement is Judgement.INCONCLUSIVE:
        assert judge(seen, tight).judgement is not Judgement.PASS


def test_a_capacity_has_a_floor_and_a_search_without_an_answer_does_not_pass() -> None:
    """Below the limit is a breach; a capacity that was not found is inconclusive, never 0."""
    found = replace(SUMMARY, capacity_per_s=40.0)
    assert judge(result(found), [limit("capacity_per_s", 40.0)]).judgement is Judgement.PASS
    assert sentences(limit("capacity_per_s", 50.0), summary=found) == [
        "capacity_per_s 40 requests/s is 20.0% below the limit 50 requests/s (profile cpu)"
    ]
    assert judge(result(), [limit("capacity_per_s", 40.0)]).judgement is Judgement.INCONCLUSIVE
