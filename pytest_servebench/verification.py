"""Compares answers with the reference: is each right, and its own image's, not another one's.

Pure. A difference is relative where logits are given (the largest absolute one, by the
spread of the expected row) and absolute where confidences are (probabilities, 0 to 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_servebench.plan import CPU, Device, ModelFormat, Payload, Precision
from pytest_servebench.results import Answer, Verification

Floats = npt.NDArray[np.float32]

_EXACT = 1e-3
"""fp32 on a CPU: other kernels sum in another order, 1e-5 is the worst that was seen. Two
images' logits lie more than 0.1 apart."""
_TENSOR_FLOAT = 2e-2
"""fp32 on a GPU: onnxruntime, torch and TensorRT convolve fp32 in TF32 (11 bits) unless told not
to. Rounding every convolution's operands so moved logits by 0.004, confidences by 0.011."""
_HALF = 4e-2
"""fp16: the same 11 bits, also between the layers; it moved logits by 0.005, confidences by 0.022."""

_TOLERANCES = {
    ("cpu", Precision.FP32): _EXACT,
    ("cuda", Precision.FP32): _TENSOR_FLOAT,
    ("cpu", Precision.FP16): _HALF,
    ("cuda", Precision.FP16): _HALF,
}


def tolerance_for(
    model_format: ModelFormat,
    precision: Precision,
    payload: Payload,  # noqa: ARG001 (no part in it today, see below; it would have with another decoder)
    device: Device = CPU,
) -> float:
    """Return the largest difference from the fp32 reference on the CPU that still counts as equal.

    The arithmetic decides. A ``jpeg`` payload needs no more room than a ``tensor``: the
    client's tensor is made of that very JPEG, by the same steps of the same Pillow.
    """
    kind = "cuda" if model_format is ModelFormat.TENSORRT else device.kind
    return _TOLERANCES[kind, precision]


def verify(
    answers: Sequence[Answer],
    expected_logits: Floats,
    tolerance: float,
    image_indexes: Sequence[int] | None = None,
) -> Verification:
    """Compare each answer with the reference of its own image.

    ``expected_logits`` is [images, classes]; answer ``i`` must be that of row
    ``image_indexes[i]``, by default of row ``i``. A wrong answer that is another
    row's is named so: that is a batch whose answers were mixed up. An answer that
    is not finite, or not of this shape, is a mismatch with an infinite difference.
    """
    own = range(len(expected_logits)) if image_indexes is None else image_indexes
    if len(own) != len(answers):
        sentence = f"{len(answers)} answers came for {len(own)} images"
        return Verification(
            compared=0, mismatches=(sentence,), tolerance=tolerance, worst_difference=math.inf
        )
    differences = [
        _difference(answer, expected_logits[row]) for answer, row in zip(answers, own, strict=True)
    ]
    mismatches = tuple(
        _sentence(position, row, answers[position], expected_logits, tolerance)
        for position, row in enumerate(own)
        if not differences[position] <= tolerance
    )
    return Verification(
        compared=len(answers),
        mismatches=mismatches,
        tolerance=tolerance,
        worst_difference=max(differences, default=0.0),
    )


def _sentence(position: int, row: int, answer: Answer, expected_logits: Floats, tolerance: float) -> str:
    differences = [_difference(answer, expected) for expected in expected_logits]
    nearest = int(np.argmin(differences))
    if differences[nearest] <= tolerance:
        return f"answer {position} belongs to image {nearest}, not to its own image {row}"
    measure = "of the reference's spread" if answer.logits is not None else "in confidence"
    return (
        f"answer {position} is not that of image {row}: it differs by {differences[row]:.3g} "
        f"{measure}, {tolerance:.3g} is allowed"
    )


def _difference(answer: Answer, expected: Floats) -> float:
    """Return how far ``answer`` is from one row of logits; infinite when it cannot be compared."""
    if answer.logits is not None:
        return _logit_difference(np.asarray(answer.logits, np.float64), expected.astype(np.float64))
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


def _comparable(classes: npt.NDArray[np.int_], seen: npt.NDArray[np.float64], count: int) -> bool:
    alike = len(classes) == len(seen) > 0 and len(set(classes.tolist())) == len(classes)
    return alike and bool(np.isfinite(seen).all() and (classes >= 0).all() and (classes < count).all())


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Return the probabilities of one row of logits."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities
