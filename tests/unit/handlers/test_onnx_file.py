"""What is read of an ONNX file, against the package onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_file import read_onnx

from pytest_servebench.plan import ModelFormat
from tests.recorded_onnxruntime import onnx_file
from tests.tiny_model import build_tiny_model


def test_a_true_models_weights_and_input_are_those_that_onnx_reads(tmp_path: Path) -> None:
    """Of a file that torch exported: names, shapes, and every number that a weight holds."""
    path = build_tiny_model(tmp_path, ModelFormat.ONNX).path
    model = onnx.load(str(path))
    numbers = sum(numpy_helper.to_array(each).size for each in model.graph.initializer)
    found = read_onnx(path)
    assert found.input_name == model.graph.input[0].name
    assert found.input_shape == (None, 3, 224, 224)
    floats = sum(
        numpy_helper.to_array(each).size
        for each in model.graph.initializer
        if each.data_type == TensorProto.FLOAT
    )
    assert found.elements == {"fp32": floats}
    assert floats > 0.99 * numbers
    assert found.precision == "fp32"


def test_weights_beside_the_file_and_among_the_inputs_are_weights(tmp_path: Path) -> None:
    """External data is counted by its shape; an old model lists its weights as inputs before the true one."""
    path = onnx_file(tmp_path / "model.onnx")
    model = onnx.load(str(path))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((300, 7), np.float16), "half"))
    model.graph.input.insert(0, helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 5]))
    onnx.save(model, str(path), save_as_external_data=True, location="weights", size_threshold=0)
    found = read_onnx(path)
    assert found.elements == {"fp32": 15, "fp16": 2100}
    assert (found.input_name, found.precision) == ("input", "fp16")


@pytest.mark.parametrize("zero", [np.int8, np.uint8, None])
def test_weights_that_are_rounded_before_any_use_are_what_they_are_rounded_to(
    tmp_path: Path, zero: type[np.generic] | None
) -> None:
    """As TensorRT reads int8: float32 in the file, between a QuantizeLinear and a DequantizeLinear."""
    path = onnx_file(tmp_path / "model.onnx")
    model = onnx.load(str(path))
    scale, told = numpy_helper.from_array(np.array(0.25, np.float32), "scale"), ["scale"]
    model.graph.initializer.append(scale)
    if zero is not None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(0, zero), "zero"))
        told.append("zero")
    for one in model.graph.node:
        one.input[:] = ["rounded" if each == "w" else each for each in one.input]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", *told], ["rounded"]))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["w", *told], ["q"]))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    found = read_onnx(path)
    assert found.elements == {"int8": 15 + (zero is not None), "fp32": 1}
    assert found.precision == "int8"


def test_a_model_without_weights_has_no_precision(tmp_path: Path) -> None:
    """Missing is not fp32."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])],
        "g",
        [value("a", TensorProto.FLOAT, ["n", 3])],
        [value("b", TensorProto.FLOAT, ["n", 3])],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    assert read_onnx(tmp_path / "m.onnx").precision is None


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x3a\xff\x01short", b"\x08\x08"])
def test_what_is_no_model_is_told(tmp_path: Path, data: bytes) -> None:
    """A file cut short, empty or of another kind ends in one sentence with its name."""
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ValueError, match=r"m\.onnx is no ONNX model"):
        read_onnx(tmp_path / "m.onnx")
