"""The reference's claims: what confirms, what refutes, and that nothing is answered without repeats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from pytest_servebench.comparison.intervals import Ratio, ratio_across
from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.findings import Answer, Claim, findings_of
from pytest_servebench.reports.findings.claims import answer_of
from tests.found_records import STEADY, found_record, found_replicates

CLAIMED = (2.0, 3.0)
NAMES = ("dynamic-batching", "onnx-faster", "best-batch", "bottleneck")


def batching(times: float, **changes: Any) -> Claim:
    """Return the claim of batching where a batch of 8 serves so many times what 1 does."""
    records = [*found_replicates(100 * times, batch=8, **changes), *found_replicates(100, batch=1, **changes)]
    return findings_of(records).claim("dynamic-batching")


@pytest.mark.parametrize(
    ("times", "answer"),
    [
        (0.8, Answer.REFUTED),
        (1.2, Answer.REFUTED),
        (1.995, Answer.CONFIRMED),
        (2.5, Answer.CONFIRMED),
        (4.0, Answer.REFUTED),
    ],
)
def test_a_ratio_known_well_is_answered(times: float, answer: Answer) -> None:
    """Within 2 to 3 times it is confirmed, outside it is refuted, and the figures stand in the reason."""
    claim = batching(times)
    assert claim.answer is answer
    assert claim.value == pytest.approx(times)
    assert claim.interval is not None
    assert claim.interval[0] < times < claim.interval[1]
    assert "triton onnx, max batch 8 against 1, 16 in flight" in claim.reason


def test_one_start_of_each_server_answers_nothing() -> None:
    """The ratio is told, however far it is from the claim; no claim is confirmed or refuted by it."""
    records = [
        found_record(500, batch=16, in_flight=64),
        found_record(100, batch=1, in_flight=64),
        found_record(80, batch=1, in_flight=64, model_format=ModelFormat.PYTORCH),
    ]
    claims = findings_of(records).claims
    assert tuple(claim.name for claim in claims) == NAMES
    assert {claim.answer for claim in claims} == {Answer.NOT_MEASURABLE}
    assert "5.00 times (500 against 100 images/s)" in claims[0].reason
    assert all("--serve-repeats=5" in claim.reason and claim.interval is None for claim in claims)


def test_repeats_of_a_server_that_was_not_restarted_answer_nothing() -> None:
    """They are one start of it."""
    assert batching(2.5, restarted=False).answer is Answer.NOT_MEASURABLE


def test_repeats_that_differ_too_much_answer_nothing() -> None:
    """An interval that holds both no difference and the claim says neither."""
    wild = (1.0, 2.0, 0.5, 1.6, 0.7)
    records = [*found_replicates(200, wild, batch=8), *found_replicates(100, wild, batch=1)]
    claim = findings_of(records).claim("dynamic-batching")
    assert claim.answer is Answer.NOT_MEASURABLE
    assert claim.comparisons[0].why == (
        "no difference and the claimed one are both possible: more of --serve-repeats would tell"
    )


def test_one_stack_that_refutes_is_enough_and_comes_first() -> None:
    """A claim that speaks of all stacks does not hold where it fails for one; every figure is told."""
    records = [
        *found_replicates(250, batch=8),
        *found_replicates(100, batch=1),
        *found_replicates(110, batch=8, stack="fastapi"),
        *found_replicates(100, batch=1, stack="fastapi"),
    ]
    claim = findings_of(records).claim("dynamic-batching")
    assert claim.answer is Answer.REFUTED
    assert claim.value == pytest.approx(1.1)
    assert [(one.cases.split()[0], one.answer) for one in claim.comparisons] == [
        ("fastapi", Answer.REFUTED),
        ("triton", Answer.CONFIRMED),
    ]


def test_one_stack_that_cannot_tell_keeps_a_claim_open() -> None:
    """It is confirmed only where every comparison confirms."""
    records = [
        *found_replicates(250, batch=8),
        *found_replicates(100, batch=1),
        found_record(250, batch=8, stack="fastapi"),
        found_record(100, batch=1, stack="fastapi"),
    ]
    assert findings_of(records).claim("dynamic-batching").answer is Answer.NOT_MEASURABLE


@pytest.mark.parametrize(
    "single",
    [
        {"in_flight": 2},
        {"model_format": ModelFormat.PYTORCH},
        {"stack": "fastapi"},
        {"validity": "unstable", "reason": "it drifts"},
        {"images_per_s": None},
    ],
    ids=["load", "format", "stack", "invalid", "no figure"],
)
def test_only_cases_asked_alike_are_compared(single: dict[str, Any]) -> None:
    """Another load, format or stack, an invalid run or a missing figure is no other side of a comparison."""
    other = [record | single for record in found_replicates(100, batch=1)]
    if not {"validity", "images_per_s"} & single.keys():
        other = found_replicates(100, batch=1, **single)
    claim = findings_of([*found_replicates(250, batch=8), *other]).claim("dynamic-batching")
    assert claim.answer is Answer.NOT_MEASURABLE
    assert claim.comparisons == ()
    assert claim.reason.endswith(": --serve-batch-size=1,8 --serve-concurrency=8")


def test_a_load_that_cannot_fill_a_batch_tests_nothing() -> None:
    """With 4 in flight a batch of 8 is never full, whatever it may give."""
    assert batching(1.0, in_flight=4).comparisons == ()


def test_formats_under_a_load_that_fills_no_batch_are_told_of_the_load() -> None:
    """Both formats were measured, so the reason may not say that they were not."""
    records = [
        *found_replicates(117, in_flight=4),
        *found_replicates(100, model_format=ModelFormat.PYTORCH, in_flight=4),
    ]
    reason = findings_of(records).claim("onnx-faster").reason
    assert "onnx and pytorch under one load that fills its batches" in reason
    assert reason.endswith(": --serve-format=onnx,pytorch --serve-batch-size=8 --serve-concurrency=8")


def test_benchmarks_that_asked_the_same_are_one_measurement() -> None:
    """A case that two benchmarks measure is not twice as many replicates."""
    records = [*found_replicates(250, batch=8), *found_replicates(100, batch=1)]
    again = found_replicates(400, batch=8, benchmark="test_batch_sizes")
    assert findings_of([*records, *again]).claim("dynamic-batching") == findings_of(records).claim(
        "dynamic-batching"
    )


def test_formats_are_compared_stack_by_stack() -> None:
    """ONNX that serves 1.17 times PyTorch confirms 15 to 20%; 1.5 times refutes it: it is another figure."""
    for times, answer in ((1.17, Answer.CONFIRMED), (1.5, Answer.REFUTED), (0.9, Answer.REFUTED)):
        records = [
            *found_replicates(100 * times),
            *found_replicates(100, model_format=ModelFormat.PYTORCH),
        ]
        claim = findings_of(records).claim("onnx-faster")
        assert claim.answer is answer
        assert claim.reason.startswith("triton, onnx against pytorch, max batch 8, 16 in flight: ")


@pytest.mark.parametrize(
    ("served", "answer"),
    [
        ({1: 50, 8: 100, 16: 150, 32: 149}, Answer.CONFIRMED),
        ({1: 50, 8: 200, 16: 150, 32: 140}, Answer.REFUTED),
        ({1: 50, 8: 150, 16: 150.5, 32: 140}, Answer.NOT_MEASURABLE),
        ({8: 150, 16: 300}, Answer.CONFIRMED),
    ],
    ids=["16", "8", "either", "two sizes"],
)
def test_the_best_batch_is_told_among_all_sizes(served: dict[int, float], answer: Answer) -> None:
    """It has to be better than every other size beyond chance, and the sizes are named with their figures."""
    records = [
        one for batch, speed in served.items() for one in found_replicates(speed, batch=batch, in_flight=64)
    ]
    claim = findings_of(records).claim("best-batch")
    assert claim.answer is answer
    assert f"8: {served[8]:.3g}" in claim.reason


def test_the_bottleneck_is_answered_by_shares_of_the_time() -> None:
    """Computation with more than half of the time in every repeat confirms; with less it refutes."""
    for compute_ms, answer in ((7.0, Answer.CONFIRMED), (2.0, Answer.REFUTED)):
        told = {"compute_time_ms": compute_ms, "executions": 20}
        claim = findings_of(found_replicates(100, telemetry=told)).claim("bottleneck")
        assert claim.answer is answer
        assert claim.value == pytest.approx(compute_ms / 10)


@given(
    low=st.floats(0.1, 10),
    width=st.floats(1, 10),
    narrower=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
def test_a_refuted_claim_stays_refuted_the_better_it_is_known(
    low: float, width: float, narrower: tuple[float, float]
) -> None:
    """A narrower interval within the first one never turns a refutation into anything else."""
    wide = (low, low * width)
    span = wide[1] - wide[0]
    within = (wide[0] + narrower[0] * span, wide[1] - narrower[1] * span)
    answers = [answer_of(Ratio(value=sum(one) / 2, interval=one), CLAIMED) for one in (wide, within)]
    assert answers[0] is not Answer.REFUTED or answers[1] is Answer.REFUTED


@given(middle=st.floats(0.1, 10), more=st.floats(1, 5), width=st.floats(1, 1.7))
def test_answers_are_in_order_as_the_ratio_grows(middle: float, more: float, width: float) -> None:
    """Beyond the claimed range nothing is confirmed again, below it nothing is."""
    first = (middle / width, middle * width)
    then = (first[0] * more, first[1] * more)
    places = [_place(one) for one in (first, then)]
    assert places == sorted(places)
    answers = [answer_of(Ratio(value=1, interval=one), CLAIMED) for one in (first, then)]
    assert all((at == 1) == (found is not Answer.REFUTED) for at, found in zip(places, answers, strict=True))


def _place(interval: tuple[float, float]) -> int:
    return 0 if interval[1] < CLAIMED[0] else 2 if interval[0] > CLAIMED[1] else 1


@given(
    over=st.lists(st.floats(0.1, 1e4), max_size=6),
    under=st.lists(st.floats(0.1, 1e4), max_size=6),
)
def test_too_few_values_have_no_interval_and_no_answer(over: list[float], under: list[float]) -> None:
    """Fewer than two on a side tell nothing of chance, and then nothing is confirmed or refuted."""
    found = ratio_across(over, under)
    if min(len(over), len(under)) < 2:
        assert found is None or found.interval is None
        assert answer_of(found, CLAIMED) is Answer.NOT_MEASURABLE
    else:
        assert found is not None
        assert found.interval is not None
        low, high = found.interval
        assert low <= found.value * (1 + 1e-9)
        assert found.value <= high * (1 + 1e-9)


def test_the_interval_is_welchs() -> None:
    """SciPy's interval of Welch's test on the logarithms, turned back, is the same."""
    import numpy as np

    over, under = [10.0, 11.0, 9.5], [5.0, 5.1, 5.3, 4.8, 7.0]
    theirs = ttest_ind(np.log(over), np.log(under), equal_var=False).confidence_interval(0.95)
    found = ratio_across(over, under)
    assert found is not None
    assert found.interval == pytest.approx((np.exp(theirs.low), np.exp(theirs.high)))
    assert ratio_across([2.0, 2.0], [1.0, 1.0]) == Ratio(value=2.0, interval=(2.0, 2.0))
    assert ratio_across([0.0, 2.0], STEADY) is None


@pytest.mark.parametrize(
    ("interval", "answer"),
    [
        ((1.9, 2.1), Answer.CONFIRMED),
        ((1.1, 2.9), Answer.NOT_MEASURABLE),
        ((1.5, 4.6), Answer.NOT_MEASURABLE),
        ((0.9, 2.1), Answer.NOT_MEASURABLE),
        ((3.1, 9.0), Answer.REFUTED),
    ],
    ids=["known well", "hardly anything too", "too wide", "no difference too", "more"],
)
def test_an_interval_that_allows_anything_confirms_nothing(
    interval: tuple[float, float], answer: Answer
) -> None:
    """Agreeing with a claim is not enough: what agrees with nearly no effect as well tells nothing."""
    assert answer_of(Ratio(value=2.0, interval=interval), CLAIMED) is answer
