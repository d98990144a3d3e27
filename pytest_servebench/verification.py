"""Compares answers with the reference: is each right, and its own image's, not another one's.

Pure. A difference is relative where logits are given (the largest absolute one, by the
spread of the expected row) and absolute where confidences are (probabilities, 0 to 1), unless these are
compared by their logarithms (`by_logarithm`), whose differences are those of logits, and as relative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from pytest_servebench.plan import CPU, Decoder, Device, ModelFormat, Payload, Precision
from pytest_servebench.results import Answer, Verification

Floats = npt.NDArray[np.float32]

_EXACT = 1e-3
"""fp32, on a GPU too since TF32 is off there: what is left is the order in which kernels sum. On the CPU
other orders (torch's with and without oneDNN, channels last, no fused graph) and 64-bit sums moved logits
by 4e-6 and confidences by 2e-5 at most; no GPU was measured. Two images' logits lie over 0.2 apart."""
_TENSOR_FLOAT = 2e-2
"""tf32: 11 bits. Rounding every convolution's operands so moved logits by 0.004, confidences by 0.011."""
_HALF = 4e-2
"""fp16: the same 11 bits, also between the layers; it moved logits by 0.005, confidences by 0.022."""
_BRAIN = 1.4e-1
"""bf16: 8 bits, also between the layers. torch's autocast on a CPU moved logits by 0.024, confidences by
0.069; images whose two best classes were up to 0.04 apart changed their first."""
_EIGHT_BITS = 2e-1
"""int8, onnxruntime's QDQ on a CPU, scales per channel, calibrated on 32 other synthetic images: of 48
synthetic images and 16 photographs, of ResNet50 with seeded weights and EfficientNet-Lite0 with real ones,
logits moved by 0.18. Confidences moved by 0.81, which is no measure of anything: a softmax takes differences
of logits to a power. Their logarithms, which are these differences, moved by 0.135 (see `by_logarithm`); of
the answers taken for another image's 0 to 9% are within this, and of no exchange of all images more than
10 of 48. With more room two images would pass for each other: the nearest two have logits 0.22 apart."""

_LEAST_CONFIDENCE = 1e-6
"""Smaller ones are taken for it: what a server rounds, or cannot tell from 0, has no logarithm to compare."""
_LARGEST_SUM = 1 + 1e-3

_OTHER_DECODER = 5e-1
"""A JPEG that nvJPEG decoded, by torchvision or by DALI. No GPU was measured. libjpeg-turbo without
smoothing of the colours, in its stead, moved confidences of ResNet50 by 0.42 and logits by 0.097 (of 64
synthetic images, which have half the resolution in colour; of 16 photographs that have all of it by 0.014
and 0.011), and torch's resizing alone by 0.020 and 0.006. Of 992 answers taken for another of 32 images,
84% are further off than this: one may pass, a batch that is mixed up does not."""

_FINEST = {Precision.TF32: 1e-4, Precision.FP16: 1e-4, Precision.BF16: 1e-3, Precision.INT8: 5e-3}
"""Logits that lie no further than this from the reference were not computed in that precision. Rounding the
weights alone to 11 bits moved those of every single image by 9e-4 or more, to bf16 by 7e-3; a whole int8 file
by 3.5e-2; other orders of fp32 by 2e-6 at most (24 images each of ResNet50 with seeded weights and of
EfficientNet-Lite0 with real ones, on a CPU). Whatever a GPU's kernels do besides, rounding is part of it.
Confidences tell nothing of the kind: the surer a model is, the less they move."""

_TOLERANCES = {
    Precision.FP32: _EXACT,
    Precision.TF32: _TENSOR_FLOAT,
    Precision.FP16: _HALF,
    Precision.BF16: _BRAIN,
    Precision.INT8: _EIGHT_BITS,
}


def tolerance_for(
    model_format: ModelFormat,  # noqa: ARG001 (no part in it today, as the next)
    precision: Precision,
    payload: Payload,
    device: Device = CPU,  # noqa: ARG001 (what a precision means is the same on each)
    decoder: str = "",
) -> float:
    """Return the largest difference from the fp32 reference on the CPU that still counts as equal.

    The arithmetic decides. A ``jpeg`` payload needs no more room than a ``tensor``: the
    client's tensor is made of that very JPEG, by the same steps of the same Pillow, unless the server says
    that its ``decoder`` is another.
    """
    if payload is Payload.JPEG and decoder in (Decoder.NVJPEG, Decoder.DALI):
        return max(_TOLERANCES[precision], _OTHER_DECODER)
    return _TOLERANCES[precision]


def by_logarithm(precision: Precision) -> bool:
    """Return whether confidences in ``precision`` are compared by their logarithms.

    Where rounding moves logits by more than 1, it moves the confidence of a right answer from 0.1 to 0.9.
    """
    return precision is Precision.INT8


def verify(
    answers: Sequence[Answer],
    expected_logits: Floats,
    tolerance: float,
    image_indexes: Sequence[int] | None = None,
    *,
    logarithms: bool = False,
) -> Verification:
    """Compare each answer with the reference of its own image.

    ``expected_logits`` is [images, classes]; answer ``i`` must be that of row
    ``image_indexes[i]``, by default of row ``i``. A wrong answer that is another
    row's is named so: that is a batch whose answers were mixed up. An answer that
    is not finite, or not of this shape, is a mismatch with an infinite difference. ``logarithms`` is
    for answers without logits: `by_logarithm` of their precision.
    """
    difference = partial(_difference, logarithms=logarithms)
    own = range(len(expected_logits)) if image_indexes is None else image_indexes
    if len(own) != len(answers):
        why = f"{len(answers)} answers came for {len(own)} images"
        return Verification(compared=0, mismatches=(why,), tolerance=tolerance, worst_difference=math.inf)
    differences = [difference(answer, expected_logits[row]) for answer, row in zip(answers, own, strict=True)]
    mismatches = tuple(
        _sentence(
            position,
            row,
            [difference(answers[position], expected) for expected in expected_logits],
            tolerance,
            relative=logarithms or answers[position].logits is not None,
        )
        for position, row in enumerate(own)
        if not differences[position] <= tolerance
    )
    return Verification(
        compared=len(answers),
        mismatches=mismatches,
        tolerance=tolerance,
        worst_difference=max(differences, default=0.0),
    )


def finer_than(
    precision: Precision, answers: Sequence[Answer], verification: Verification
) -> tuple[str, ...]:
    """Return a sentence where answers are closer to the fp32 reference than ``precision`` can be.

    Only answers with logits tell it, and no precision but a coarser one than fp32 can be told so.
    """
    finest = _FINEST.get(precision)
    if finest is None or not answers or any(answer.logits is None for answer in answers):
        return ()
    if verification.mismatches or not verification.worst_difference < finest:
        return ()
    sentence = (
        f"asked for {precision}, but no answer lies further than {verification.worst_difference:.2g} from the"
        f" fp32 reference: {precision} itself comes no closer than {finest:g}, so it computes in a finer one"
    )
    return (sentence,)


def _sentence(
    position: int, row: int, differences: Sequence[float], tolerance: float, *, relative: bool
) -> str:
    """Return what is wrong with an answer; ``differences`` are those to every image's row."""
    nearest = int(np.argmin(differences))
    if differences[nearest] <= tolerance:
        return f"answer {position} belongs to image {nearest}, not to its own image {row}"
    measure = "of the reference's spread" if relative else "in confidence"
    return (
        f"answer {position} is not that of image {row}: it differs by {differences[row]:.3g} "
        f"{measure}, {tolerance:.3g} is allowed"
    )


def _difference(answer: Answer, expected: Floats, *, logarithms: bool) -> float:
    """Return how far ``answer`` is from one row of logits; infinite when it cannot be compared."""
    if answer.logits is not None:
        return _logit_difference(np.asarray(answer.logits, np.float64), expected.astype(np.float64))
    if logarithms:
        return _logarithm_difference(answer, expected.astype(np.float64))
    return _confidence_difference(answer, softmax(expected))


def _logit_difference(seen: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> float:
    if seen.shape != expected.shape or not np.isfinite(seen).all():
        return math.inf
    worst = float(np.abs(seen - expected).max())
    spread = float(np.ptp(expected))
    # A row without spread says nothing that could be scaled: only the same row equals it.
    return worst / spread if spread > 0 else (0.0 if worst == 0 else math.inf)


def _confidence_difference(answer: Answer, expected: npt.NDArray[np.float64]) -> float:
    """Return the largest of three differences, all in probability.

    Each confidence to the reference's for that class; each to the reference's of that
    rank (the best were named, not any); and how much better the reference's best
    class is than the one named first.
    """
    classes, seen = np.asarray(answer.class_ids), np.asarray(answer.confidences, np.float64)
    if not _comparable(classes, seen, len(expected)):
        return math.inf
    of_class = expected[classes]
    of_rank = np.sort(expected)[::-1][: len(seen)]
    return float(max(np.abs(seen - of_class).max(), np.abs(seen - of_rank).max(), of_rank[0] - of_class[0]))


def _logarithm_difference(answer: Answer, expected: npt.NDArray[np.float64]) -> float:
    """Return the largest of three differences of logits, by the spread of the expected row.

    A softmax is a logarithm away from the logits, less one number for the row. So compared are: by how much
    two of the named classes lie otherwise apart than they should; the largest difference of one; and how
    far the classes named lie behind those that should have been.
    """
    classes, seen = np.asarray(answer.class_ids), np.asarray(answer.confidences, np.float64)
    spread = float(np.ptp(expected))
    if not _comparable(classes, seen, len(expected)) or seen.min() < 0 or seen.sum() > _LARGEST_SUM:
        return math.inf
    right = softmax(expected)[classes]
    off = np.log(np.maximum(seen, _LEAST_CONFIDENCE)) - np.log(np.maximum(right, _LEAST_CONFIDENCE))
    behind = np.sort(expected)[::-1][: len(classes)] - expected[classes]
    worst = float(max(np.ptp(off), np.abs(off).max(), behind.max()))
    # As of logits: a row without spread equals only itself.
    return worst / spread if spread > 0 else (0.0 if worst == 0 else math.inf)


def _comparable(classes: npt.NDArray[np.int_], seen: npt.NDArray[np.float64], count: int) -> bool:
    alike = len(classes) == len(seen) > 0 and len(set(classes.tolist())) == len(classes)
    return alike and bool(np.isfinite(seen).all() and (classes >= 0).all() and (classes < count).all())


def softmax(logits: Floats | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the probabilities of one row of logits."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities
