"""Makes an fp16 file of an fp32 one; its input and output stay float32, so that the wire is the same.

By onnxruntime's own converter (``onnxruntime.transformers.float16``), which began as
onnxconverter-common's and is kept up with onnxruntime's operators, release by release. Only the process
that makes model files calls this.

Measured on a CPU, where onnxruntime computes most of it in fp32, as the largest error by the spread of the
logits: 0.003 (ResNet50, seeded weights), 0.005 (EfficientNet-Lite0, photographs); every first class stayed.
"""

from __future__ import annotations

from pathlib import Path


def onnx_in_half(source: Path, target: Path) -> None:
    """Write ``source``, an ONNX file in fp32, with weights and arithmetic in fp16 to ``target``."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    # Values of the weights below the smallest that fp16 has become that; above the largest, that.
    converted = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
    # The casts at input and output are appended, and a reader may take nodes in the order they are in.
    OnnxModel(converted).topological_sort()
    onnx.checker.check_model(converted)
    onnx.save(converted, str(target))
