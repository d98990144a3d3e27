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
from pytest_servebench.verification import by_logarithm, finer_than, softmax, tolerance_for, verify

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


GPU = Device("cuda")


def tolerance(precision: Precision, device: Device = CPU) -> float:
    """Return the tolerance of an ONNX model and tensors."""
    return tolerance_for(ModelFormat.ONNX, precision, Payload.TENSOR, device)


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
def test_tolerances_follow_the_arithmetic(device: Device) -> None:
    """The fewer bits, the more room; fp32 is tight on a GPU too, since it is IEEE's there."""
    of = [tolerance(each, device) for each in (Precision.FP32, Precision.TF32, Precision.FP16)]
    assert of[0] == 1e-3
    assert of == sorted(of)
    for coarse in (Precision.BF16, Precision.INT8):
        assert of[-1] < tolerance(coarse, device) <= 0.2


@pytest.mark.parametrize("precision", list(Precision), ids=str)
@pytest.mark.parametrize("model_format", list(ModelFormat), ids=str)
@pytest.mark.parametrize("payload", list(Payload), ids=str)
def test_neither_format_nor_payload_needs_more_room(
    precision: Precision, model_format: ModelFormat, payload: Payload
) -> None:
    """Every case has a tolerance, also one of a server whose device nobody here knows."""
    assert tolerance_for(model_format, precision, payload, CPU) == tolerance(precision)


def test_another_decoder_needs_more_room_for_what_it_decodes() -> None:
    """Only for JPEG, and only where the server says that it is not Pillow."""
    asked = (ModelFormat.ONNX, Precision.FP32)
    assert tolerance_for(*asked, Payload.JPEG, GPU, "nvjpeg") == 0.5
    assert tolerance_for(*asked, Payload.JPEG, GPU, "dali") == 0.5
    assert tolerance_for(*asked, Payload.JPEG, GPU, "pillow") == 1e-3
    assert tolerance_for(*asked, Payload.TENSOR, GPU, "nvjpeg") == 1e-3


@pytest.mark.parametrize("precision", list(Precision), ids=str)
@given(seed=seeds, count=st.integers(2, 8), kind=kinds)
def test_two_images_are_told_apart_in_every_precision(
    precision: Precision, seed: int, count: int, kind: str
) -> None:
    """A batch whose answers went to each other's images never passes, however coarse the arithmetic."""
    rows = distinct_logits(seed, count)
    wrong = answers(np.roll(rows, 1, axis=0), kind)
    seen = verify(wrong, rows, tolerance(precision), logarithms=by_logarithm(precision))
    assert len(seen.mismatches) == count


# Closer than a precision can be

CLOSEST = {Precision.TF32: 8e-4, Precision.FP16: 8e-4, Precision.BF16: 6.9e-3, Precision.INT8: 3.5e-2}
"""The least that one image's logits were seen to move, on a CPU."""
FURTHEST_FP32 = 4e-6
"""The most that other orders of summation were."""


def moved(by: float, kind: str = "logits") -> tuple[list[Answer], Floats]:
    """Return answers of which one lies so far from the reference, and the reference."""
    rows = distinct_logits(0, 3)
    seen = rows.astype(np.float64)
    seen[1, 0] += by * np.ptp(seen[1])
    return answers(seen.astype(np.float32), kind), rows


@pytest.mark.parametrize("precision", CLOSEST)
def test_answers_as_close_as_fp32_are_not_those_of_a_coarser_precision(precision: Precision) -> None:
    """Rounding is part of every engine of that precision: a server that shows none computed in another."""
    given, rows = moved(FURTHEST_FP32)
    (sentence,) = finer_than(precision, given, verify(given, rows, 1e-3))
    assert sentence.startswith(f"asked for {precision}, but no answer lies further than 4e-06 from the fp32")


@pytest.mark.parametrize("precision", CLOSEST)
def test_answers_as_far_as_the_precision_was_seen_to_be_are_not_doubted(precision: Precision) -> None:
    """With the least that any image moved there is room to spare, and a batch is judged by its furthest."""
    given, rows = moved(CLOSEST[precision] / 5)
    assert finer_than(precision, given, verify(given, rows, 1.0)) == ()


def test_what_cannot_tell_it_raises_no_doubt() -> None:
    """fp32 has nothing finer, a sure model's confidences hardly move, and wrong answers have a verdict."""
    exact, rows = moved(0.0)
    assert finer_than(Precision.FP32, exact, verify(exact, rows, 1e-3)) == ()
    sure, _ = moved(0.0, "confidences")
    assert finer_than(Precision.FP16, sure, verify(sure, rows, 1e-3)) == ()
    assert finer_than(Precision.FP16, [], verify([], rows[:0], 1e-3)) == ()
    mixed = exact[::-1]
    assert finer_than(Precision.FP16, mixed, verify(mixed, rows, 1e-3)) == ()


def test_confidences_of_int8_alone_are_compared_by_their_logarithms() -> None:
    """A tolerance of probabilities is tighter where rounding is fine."""
    assert [each for each in Precision if by_logarithm(each)] == [Precision.INT8]


@given(seeds, counts, st.floats(0, 0.1), kinds)
def test_rounding_that_moves_logits_passes_without_them_too(
    seed: int, count: int, moved: float, kind: str
) -> None:
    """Two logits may move apart by twice as much as one does, and the named are as far behind at most."""
    rows = distinct_logits(seed, count)
    noise = np.random.default_rng(seed).uniform(-moved, moved, rows.shape) * np.ptp(rows, axis=1)[:, None]
    seen = verify(answers((rows + noise).astype(np.float32), kind), rows, 0.2001, logarithms=True)
    assert seen.mismatches == ()


def test_a_confidence_that_a_softmax_turns_over_is_right_by_its_logarithm() -> None:
    """Logits that span 100 and move by 2: the best class goes from 0.73 to 0.27, which says little."""
    row = np.array([[100.0, 99.0, 0.0, 1.0, 2.0, 3.0]], np.float32)
    rounded = row + np.array([[-1.0, 1.0, 0.0, 0.0, 0.0, 0.0]], np.float32)
    assert verify(answers(rounded, "confidences"), row, 0.2).mismatches
    assert verify(answers(rounded, "confidences"), row, 0.2, logarithms=True).mismatches == ()
    seen = verify(answers(rounded, "confidences"), row, 0.01, logarithms=True)
    assert seen.mismatches == (
        "answer 0 is not that of image 0: it differs by 0.02 of the reference's spread, 0.01 is allowed",
    )


@pytest.mark.parametrize(
    "confidences", [(9.5, 8.1, 0.1), (-0.2, 0.6, 0.1), (0.9, 0.9, 0.9)], ids=["logits", "negative", "sum"]
)
def test_what_is_no_probability_has_no_logarithm(confidences: tuple[float, ...]) -> None:
    """Raw logits given as confidences are close to logits, and wrong all the same."""
    rows = distinct_logits(0, 1)
    right = answer(rows[0], "confidences", top=3)
    wrong = replaced(right, confidences=confidences)
    assert verify([wrong], rows, 0.2, logarithms=True).worst_difference == math.inf


def test_confidences_that_a_server_rounds_to_nothing_are_not_far_off() -> None:
    """float32 and four digits know no 1e-30: below a millionth all are alike."""
    row = np.array([[90.0, 20.0, 10.0, 5.0, 1.0, 0.0]], np.float32)
    rounded = replaced(answer(row[0], "confidences"), confidences=(1.0, 0.0, 0.0, 0.0, 0.0))
    assert verify([rounded], row, 0.01, logarithms=True).mismatches == ()
