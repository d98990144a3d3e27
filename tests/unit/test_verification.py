from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.plan import CPU, Device, ModelFormat, Payload, Precision
from pytest_servebench.results import Answer
from pytest_servebench.verification import softmax, tolerance_for, verify

Floats = npt.NDArray[np.float32]
TOLERANCE = 1e-3
CLASSES = 20

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 8)
limits = st.tuples(st.floats(0, 0.2), st.floats(0, 0.2))
kinds = st.sampled_from(["logits", "confidences"])


def distinct_logits(seed: int, count: int) -> Floats:
    """Return rows with a peak of its own each, as different images have."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(0, 1, (count, CLASSES))
    rows[np.arange(count), generator.permutation(CLASSES)[:count]] += 6
    return rows.astype(np.float32)


def answer(row: Floats, kind: str = "logits", top: int = 5) -> Answer:
    """Return what a server that is right says of an image with these logits."""
    probabilities = softmax(row)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return Answer(
        class_ids=tuple(int(index) for index in best),
        confidences=tuple(float(probabilities[index]) for index in best),
        logits=row if kind == "logits" else None,
    )


def answers(rows: Sequence[Floats] | Floats, kind: str = "logits") -> list[Answer]:
    """Return the right answer to each row."""
    return [answer(row, kind) for row in rows]


def replaced(given: Answer, **changes: object) -> Answer:
    """Return ``given`` with some fields changed."""
    fields = {"class_ids": given.class_ids, "confidences": given.confidences, "logits": given.logits}
    return Answer(**(fields | changes))  # type: ignore[arg-type]


# Properties


@given(seeds, counts, kinds)
def test_exact_answers_always_pass(seed: int, count: int, kind: str) -> None:
    """The reference's own words are right at any tolerance, none included."""
    rows = distinct_logits(seed, count)
    for tolerance in (0.0, TOLERANCE):
        seen = verify(answers(rows, kind), rows, tolerance)
        assert (seen.mismatches, seen.compared, seen.worst_difference) == ((), count, 0.0)


@given(seeds, st.integers(2, 8), kinds, st.data())
def test_a_permutation_never_passes(seed: int, count: int, kind: str, data: st.DataObject) -> None:
    """Answers of distinct images in another order are mismatches, each traced to its image."""
    rows = distinct_logits(seed, count)
    order = data.draw(st.permutations(range(count)))
    seen = verify(answers(rows[order], kind), rows, TOLERANCE)
    expected = tuple(
        f"answer {position} belongs to image {image}, not to its own image {position}"
        for position, image in enumerate(order)
        if position != image
    )
    assert seen.mismatches == expected


@given(seeds, counts, kinds, limits, st.floats(0, 1))
def test_a_tighter_tolerance_never_turns_a_mismatch_into_a_match(
    seed: int, count: int, kind: str, limits: tuple[float, float], noise: float
) -> None:
    """What is wrong at some tolerance is wrong at every smaller one."""
    rows = distinct_logits(seed, count)
    shaken = rows + noise * np.random.default_rng(seed).normal(0, 1, rows.shape).astype(np.float32)
    tight, loose = sorted(limits)
    at_tight, at_loose = (verify(answers(shaken, kind), rows, limit) for limit in (tight, loose))
    assert len(at_tight.mismatches) >= len(at_loose.mismatches)
    assert at_tight.worst_difference == at_loose.worst_difference


@given(seeds, counts, st.integers(0, CLASSES - 1), st.sampled_from([math.nan, math.inf, -math.inf]), kinds)
def test_what_is_not_finite_never_passes(seed: int, count: int, place: int, value: float, kind: str) -> None:
    """NaN and infinity are wrong at every tolerance, whatever comparison would say of them."""
    rows = distinct_logits(seed, count)
    given_answers = answers(rows, kind)
    if kind == "logits":
        broken = rows[0].copy()
        broken[place] = value
        given_answers[0] = replaced(given_answers[0], logits=broken)
    else:
        confidences = (*given_answers[0].confidences[:-1], value)
        given_answers[0] = replaced(given_answers[0], confidences=confidences)
    seen = verify(given_answers, rows, 1e9)
    assert len(seen.mismatches) == 1
    assert seen.worst_difference == math.inf


# Rules


def test_the_difference_of_logits_is_relative_to_their_spread() -> None:
    """A row that spans 10 and is off by 0.02 differs by 0.002."""
    row = np.array([[0, 10, 5, 1]], np.float32)
    off = row + np.array([[0, 0, 0.02, 0]], np.float32)
    assert verify(answers(off), row, 0.003).mismatches == ()
    seen = verify(answers(off), row, 0.001)
    assert seen.worst_difference == pytest.approx(0.002, rel=1e-4)
    assert seen.mismatches == (
        "answer 0 is not that of image 0: it differs by 0.002 of the reference's spread, 0.001 is allowed",
    )


def test_logits_count_where_they_are_given() -> None:
    """A stack that returns all scores is judged by all of them, not by its five best alone."""
    rows = distinct_logits(0, 1)
    off = rows.copy()
    off[0, int(rows[0].argmin())] -= 0.5
    assert verify([replaced(answer(rows[0]), logits=off[0])], rows, TOLERANCE).mismatches


def test_one_confidence_too_high_is_a_mismatch() -> None:
    """Each reported probability is the reference's for that class."""
    rows = distinct_logits(0, 1)
    right = answer(rows[0], "confidences")
    wrong = replaced(right, confidences=(right.confidences[0] + 0.002, *right.confidences[1:]))
    seen = verify([wrong], rows, TOLERANCE)
    assert seen.mismatches == (
        "answer 0 is not that of image 0: it differs by 0.002 in confidence, 0.001 is allowed",
    )


def test_raw_logits_given_as_confidences_are_a_mismatch() -> None:
    """The reference's own fault: a confidence that is no probability."""
    rows = distinct_logits(0, 1)
    right = answer(rows[0], "confidences")
    raw = tuple(float(rows[0, index]) for index in right.class_ids)
    assert verify([replaced(right, confidences=raw)], rows, TOLERANCE).mismatches


def test_other_classes_than_the_best_are_a_mismatch() -> None:
    """Five classes with their true confidences are wrong when better ones were left out."""
    rows = distinct_logits(0, 1)
    order = np.argsort(-rows[0])[[0, 1, 2, 3, 8]]
    probabilities = softmax(rows[0])
    chosen = Answer(tuple(map(int, order)), tuple(float(probabilities[index]) for index in order))
    assert verify([chosen], rows, 1e-4).mismatches


def test_another_first_class_is_a_mismatch_unless_the_reference_hesitates() -> None:
    """Top-1 must be the reference's, but for two classes closer than the tolerance."""
    clear = np.log(np.array([[0.5, 0.498, 0.002]])).astype(np.float32)
    close = np.log(np.array([[0.4995, 0.4990, 0.0015]])).astype(np.float32)
    for rows, mismatches in ((clear, 1), (close, 0)):
        probabilities = softmax(rows[0])
        swapped = Answer((1, 0), (float(probabilities[1]), float(probabilities[0])))
        assert len(verify([swapped], rows, TOLERANCE).mismatches) == mismatches


@pytest.mark.parametrize(
    "changes",
    [
        {"class_ids": (), "confidences": ()},
        {"class_ids": (1, 2)},
        {"class_ids": (3, 3, 4, 5, 6)},
        {"class_ids": (CLASSES, 1, 2, 3, 4)},
        {"class_ids": (-1, 1, 2, 3, 4)},
    ],
    ids=["empty", "too few", "twice", "too high", "negative"],
)
def test_classes_that_cannot_be_are_a_mismatch(changes: dict[str, object]) -> None:
    """An answer that cannot be compared is wrong, and no exception."""
    rows = distinct_logits(0, 1)
    assert verify([replaced(answer(rows[0], "confidences"), **changes)], rows, 1.0).mismatches


def test_logits_of_another_length_are_a_mismatch() -> None:
    """A model with other classes is another model."""
    rows = distinct_logits(0, 1)
    assert verify([replaced(answer(rows[0]), logits=rows[0, :-1])], rows, 1.0).mismatches


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_missing_or_surplus_answer_is_a_mismatch(count: int) -> None:
    """Every image has exactly one answer; nothing is compared where the numbers differ."""
    rows = distinct_logits(0, 3)
    seen = verify(answers(rows[:count]), rows[:2], TOLERANCE)
    assert seen.mismatches == (f"{count} answers came for 2 images",)
    assert seen.compared == 0


def test_answers_can_be_a_sample_of_the_images() -> None:
    """Replies kept during a load name their images, and are traced among all of them."""
    rows = distinct_logits(0, 6)
    sampled = answers(rows[[4, 1, 4]])
    assert verify(sampled, rows, TOLERANCE, image_indexes=[4, 1, 4]).mismatches == ()
    assert verify(sampled, rows, TOLERANCE, image_indexes=[4, 2, 4]).mismatches == (
        "answer 1 belongs to image 1, not to its own image 2",
    )


def test_equal_images_may_have_each_others_answers() -> None:
    """Two images that are the same have one answer: nothing was mixed up."""
    rows = distinct_logits(0, 1).repeat(2, axis=0)
    assert verify(answers(rows), rows, TOLERANCE).mismatches == ()


def test_a_row_without_spread_equals_only_itself() -> None:
    """A model that scores all classes alike cannot make every answer right."""
    flat = np.ones((1, 4), np.float32)
    assert verify(answers(flat), flat, TOLERANCE).mismatches == ()
    assert verify(answers(flat * 2), flat, TOLERANCE).mismatches


@pytest.mark.parametrize("payload", list(Payload))
def test_tolerances_follow_the_arithmetic(payload: Payload) -> None:
    """fp32 on a CPU is tight, TF32 on a GPU looser, fp16 loosest; all far below two images' distance."""
    gpu = Device("cuda")
    exact = tolerance_for(ModelFormat.ONNX, Precision.FP32, payload)
    tensor_float = tolerance_for(ModelFormat.PYTORCH, Precision.FP32, payload, gpu)
    half = tolerance_for(ModelFormat.ONNX, Precision.FP16, payload, gpu)
    assert exact == 1e-3
    assert exact < tensor_float < half < 0.1
    assert tolerance_for(ModelFormat.TENSORRT, Precision.FP32, payload, CPU) == tensor_float
