"""Puts the normalisation into an ONNX model's graph, so that its input is the pixels themselves.

Only the process that makes model files imports this module: it needs onnx.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_servebench.models.catalogue import ModelCard

_NORMALISED = "normalised_pixels"


def onnx_with_pixel_input(source: Path, target: Path, card: ModelCard) -> None:
    """Write ``source``, an ONNX file for float32 ``input``, to ``target`` for uint8 of that shape.

    The graph begins with what `preprocessing.normalised` does, in the same order and in float32,
    whatever precision follows.
    """
    model = onnx.load(str(source))
    joined = onnx.compose.merge_models(_normalisation(model, card), model, [(_NORMALISED, "input")])
    # The graph's name is what profilers and errors show.
    joined.graph.name = model.graph.name
    onnx.checker.check_model(joined)
    onnx.save(joined, str(target))


def _normalisation(model: onnx.ModelProto, card: ModelCard) -> onnx.ModelProto:
    """Return a model of the normalisation alone, of the versions that ``model`` has."""
    constants = {
        "pixel_most": np.array(255, np.float32),
        "pixel_mean": _column(card.mean),
        "pixel_std": _column(card.std),
    }
    steps = (("Div", "pixel_most"), ("Sub", "pixel_mean"), ("Div", "pixel_std"))
    nodes, last = [helper.make_node("Cast", ["input"], ["pixels"], "pixels", to=TensorProto.FLOAT)], "pixels"
    for number, (operator, constant) in enumerate(steps, start=1):
        result = _NORMALISED if number == len(steps) else f"pixels_{number}"
        nodes.append(helper.make_node(operator, [last, constant], [result], result))
        last = result
    shape: list[str | int | None] = ["batch", *card.input_shape]
    graph = helper.make_graph(
        nodes,
        "normalisation",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(_NORMALISED, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _column(values: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)
