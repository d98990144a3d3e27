"""Makes an int8 file of an fp32 one: QDQ form, static, calibrated on the model's own seeded images.

The form is what TensorRT reads as explicit quantisation (its guide, "Explicit Quantization"): int8 and
symmetric (every zero point 0), weights per channel, each use of a tensor with a pair of QuantizeLinear and
DequantizeLinear of its own, weights kept in float32 before theirs, biases in float32 without. Quantised is
what convolutions and residual additions read, and not what they give: a pair between a convolution and its
activation would keep the two apart. The first convolution, which reads the image, and the classifier stay in
fp32. Only the process that makes model files calls this.

Measured on 16 images as the largest error by the spread of the logits (calibrated by ``minmax`` on 16 or 32):
with the first convolution and the classifier quantised too 0.17 (ResNet50, seeded weights) and 0.20
(EfficientNet-Lite0, photographs); as it is 0.13 and 0.09; with outputs quantised 0.17 and 0.50.
``entropy`` on 32, which erred less on the images that judge and so was kept: 0.13 and 0.11, with 90% of the
five first classes of the photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

METHODS = ("minmax", "entropy")
"""Calibrations of onnxruntime.quantization: the range that was seen, or what loses least information."""
_QUANTISED = ("Conv", "Add")
_AT_ONCE = 4
"""Images whose intermediate tensors are held at a time; ResNet50 has 0.1 GB of them for each."""


def quantised(source: Path, target: Path, images: Floats, method: str) -> None:
    """Write ``source``, an ONNX file in fp32, quantised to ``target``.

    ``images`` is float32 [n, 3, height, width], n a multiple of 4; ``method`` one of `METHODS`.
    """
    from onnxruntime import quantization

    quantization.quantize_static(
        str(source),
        str(target),
        _reader(images),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method={
            "minmax": quantization.CalibrationMethod.MinMax,
            "entropy": quantization.CalibrationMethod.Entropy,
        }[method],
        **scheme(source),
    )


def scheme(source: Path) -> dict[str, Any]:
    """Return what onnxruntime's quantiser is told of the form, for an ONNX file."""
    import onnx

    nodes = onnx.load(str(source), load_external_data=False).graph.node
    return {
        "op_types_to_quantize": list(_QUANTISED),
        "nodes_to_exclude": [node.name for node in nodes if node.op_type == "Conv"][:1],
        "extra_options": {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "CalibTensorRangeSymmetric": True,
            "CalibStridedMinMax": _AT_ONCE,
            "AddQDQPairToWeight": True,
            "DedicatedQDQPair": True,
            "OpTypesToExcludeOutputQuantization": list(_QUANTISED),
            "QuantizeBias": False,
        },
    }


def _reader(images: Floats) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it is not typed
        """Hands the images out one by one, of the range that it is set to."""

        def __init__(self) -> None:
            self.set_range(0, len(images))

        def __len__(self) -> int:
            return len(images)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = iter(range(start_index, end_index))

        def get_next(self) -> dict[str, Floats] | None:
            index = next(self._left, None)
            return None if index is None else {"input": images[index : index + 1]}

    return Reader()


def calibration_account(method: str, images: str, errors: Sequence[tuple[str, float]]) -> dict[str, object]:
    """Return what the card says of a calibration: the method taken, and the error of each that was tried."""
    return {"calibration": {"method": method, "images": images, "error_by_method": dict(errors)}}
