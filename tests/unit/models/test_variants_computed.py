"""The files themselves, made by the real converters and computed by onnxruntime and torch on this CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import artifact
from pytest_servebench.models.held_file import held_in
from pytest_servebench.models.images import image_set
from pytest_servebench.models.variant_export import compared, logits_of
from pytest_servebench.plan import Artifact, InputDtype, ModelFormat, Precision
from pytest_servebench.results import Answer
from pytest_servebench.verification import finer_than, verify

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")

MODELS = ("resnet50", "efficientnet")
HALF_ERROR = 0.02
"""Of fp16 on a CPU; 0.004 is the worst that was seen."""
Numbers = npt.NDArray[np.generic]


def made(
    exported: Artifact, model_format: ModelFormat, precision: Precision, input_dtype: InputDtype
) -> Artifact:
    """Return another file of a model that the fixtures exported."""
    cache = exported.path.parents[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SERVEBENCH_RESNET50_WEIGHTS", raising=False)
        patch.setenv("TORCH_HOME", str(cache / "no torch home"))
        return artifact(exported.model, model_format, cache, precision=precision, input_dtype=input_dtype)


def served(exported: Artifact, images: str = "synthetic", count: int = 4) -> Mapping[InputDtype, Numbers]:
    """Return what requests carry, by the type of the input."""
    chosen = image_set(images, model_card(exported.model), count, seed=0)
    return {
        InputDtype.FLOAT32: np.stack([image.tensor for image in chosen]),
        InputDtype.UINT8: np.stack([image.pixels for image in chosen if image.pixels is not None]),
    }


@pytest.mark.parametrize("model_format", [ModelFormat.ONNX, ModelFormat.PYTORCH])
@pytest.mark.parametrize("model", MODELS)
def test_pixels_give_what_normalised_tensors_give(
    model: str, model_format: ModelFormat, request: pytest.FixtureRequest
) -> None:
    """The graph of a ``uint8`` file begins with the client's own normalisation, for any batch size."""
    exported: Artifact = request.getfixturevalue(model)
    pixel_file = made(exported, model_format, Precision.FP32, InputDtype.UINT8)
    inputs = served(exported, count=3)
    expected = logits_of(exported.path, inputs[InputDtype.FLOAT32].astype(np.float32))
    seen = logits_of(pixel_file.path, inputs[InputDtype.UINT8].astype(np.uint8))
    assert compared(seen, expected)["largest_error"] < 1e-5
    assert (pixel_file.precision, pixel_file.input_dtype) == (Precision.FP32, InputDtype.UINT8)


@pytest.mark.parametrize("input_dtype", list(InputDtype))
@pytest.mark.parametrize("model", MODELS)
def test_half_precision_keeps_the_wire_and_the_answers(
    model: str, input_dtype: InputDtype, request: pytest.FixtureRequest
) -> None:
    """Weights are fp16, input and output what they were; logits differ by less than fp16's tolerance."""
    import onnx
    import onnxruntime

    exported: Artifact = request.getfixturevalue(model)
    half = made(exported, ModelFormat.ONNX, Precision.FP16, input_dtype)
    session = onnxruntime.InferenceSession(str(half.path), providers=["CPUExecutionProvider"])
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    kind = {InputDtype.FLOAT32: "tensor(float)", InputDtype.UINT8: "tensor(uint8)"}[input_dtype]
    assert (entry.name, entry.type, entry.shape) == ("input", kind, ["batch", 3, 224, 224])
    assert (result.name, result.type, result.shape) == ("output", "tensor(float)", ["batch", 1000])
    weights = [each for each in onnx.load(str(half.path)).graph.initializer if len(each.dims) == 4]
    kernels = {each.data_type for each in weights if not each.name.startswith("pixel_")}
    assert kernels == {onnx.TensorProto.FLOAT16}
    inputs = served(exported)
    expected = logits_of(exported.path, inputs[InputDtype.FLOAT32].astype(np.float32))
    seen = session.run(["output"], {"input": inputs[input_dtype]})[0]
    assert compared(seen, expected)["largest_error"] < HALF_ERROR


def test_a_file_for_pixels_can_be_cast_to_half(efficientnet: Artifact) -> None:
    """An engine that calls ``.half()`` casts the model and not the normalisation, and still takes uint8."""
    import torch

    pixel_file = made(efficientnet, ModelFormat.PYTORCH, Precision.FP16, InputDtype.UINT8)
    inputs = served(efficientnet)
    with torch.inference_mode():
        of_pixels = torch.jit.load(str(pixel_file.path)).half()(torch.from_numpy(inputs[InputDtype.UINT8]))
        plain = torch.jit.load(str(efficientnet.path.with_name("model.pt"))).half()
        of_tensors = plain(torch.from_numpy(inputs[InputDtype.FLOAT32]).half())
    assert of_pixels.dtype == torch.float16
    assert torch.equal(of_pixels, of_tensors)


@pytest.mark.parametrize("precision", [Precision.TF32, Precision.FP16, Precision.BF16])
def test_a_tensorrt_engine_is_built_of_the_fp32_file(efficientnet: Artifact, precision: Precision) -> None:
    """The builder decides the precision, so the file is that of ONNX, and says that it holds fp32."""
    wanted = made(efficientnet, ModelFormat.TENSORRT, precision, InputDtype.FLOAT32)
    assert wanted.path == efficientnet.path
    assert (wanted.format, wanted.precision) == (ModelFormat.TENSORRT, Precision.FP32)


@pytest.fixture(scope="module")
def int8(efficientnet: Artifact) -> Artifact:
    """Return EfficientNet-Lite0 quantised."""
    return made(efficientnet, ModelFormat.ONNX, Precision.INT8, InputDtype.FLOAT32)


def test_a_quantised_file_is_what_tensorrt_reads(int8: Artifact) -> None:
    """Every zero point is an int8 0, weights have a scale per channel, and no bias is quantised."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(int8.path)).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    zeros = [constants[node.input[2]] for node in pairs]
    assert {zero.dtype for zero in zeros} == {np.dtype(np.int8)}
    assert not any(zero.any() for zero in zeros)
    kernels = [node for node in pairs if node.input[0] in constants and constants[node.input[0]].ndim == 4]
    assert kernels
    assert all(constants[one.input[1]].shape == (len(constants[one.input[0]]),) for one in kernels)
    assert not any(node.domain for node in graph.node), "operators of ONNX alone"
    of_biases = {node.input[2] for node in graph.node if node.op_type == "Conv"}
    assert of_biases <= constants.keys()


def test_a_server_tells_that_a_quantised_file_is_int8(
    int8: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its weights lie there in float32: taken for fp32, every case of it would be wrong."""
    monkeypatch.syspath_prepend(str(shipped("handlers")))
    from onnx_file import read_onnx

    assert read_onnx(int8.path).precision == "int8"


def test_the_card_of_a_quantised_file_says_how_it_was_calibrated(int8: Artifact) -> None:
    """The calibration that erred less was taken, and both errors stand in the card."""
    card = json.loads(int8.card_path.read_text())
    calibration = card["calibration"]
    errors = calibration["error_by_method"]
    assert errors.keys() == {"minmax", "entropy"}
    assert errors[calibration["method"]] == min(errors.values())
    assert calibration["images"] == "32 synthetic ones of seed 1"
    assert card["error"]["images"] == "8 synthetic ones of seed 0"
    assert "onnxruntime" in card["versions"]


@pytest.mark.parametrize("model", MODELS)
def test_answers_of_a_coarser_file_are_further_off_than_those_of_fp32_can_be(
    model: str, request: pytest.FixtureRequest
) -> None:
    """By what each image moves: `finer_than` doubts those of the fp32 file alone, of two engines."""
    exported: Artifact = request.getfixturevalue(model)
    tensors = served(exported)[InputDtype.FLOAT32].astype(np.float32)
    expected = logits_of(exported.path, tensors)
    half = made(exported, ModelFormat.ONNX, Precision.FP16, InputDtype.FLOAT32)
    for file, doubted in ((half.path, False), (exported.path.with_name("model.pt"), True)):
        seen = [Answer(class_ids=(0,), confidences=(1.0,), logits=row) for row in logits_of(file, tensors)]
        for number, one in enumerate(seen):
            compared_one = verify([one], expected, 1.0, [number])
            assert bool(finer_than(Precision.FP16, [one], compared_one)) == doubted


def test_the_files_of_a_model_tell_their_arithmetic(efficientnet: Artifact, int8: Artifact) -> None:
    """Read from the files that the converters wrote, as a server's is told that runs them as they are."""
    half = made(efficientnet, ModelFormat.ONNX, Precision.FP16, InputDtype.UINT8)
    script = efficientnet.path.with_name("model.pt")
    found = [held_in(path).precision for path in (efficientnet.path, script, half.path, int8.path)]
    assert found == ["fp32", "fp32", "fp16", "int8"]


def test_a_quantised_file_still_knows_the_photographs(efficientnet: Artifact, int8: Artifact) -> None:
    """With real weights, int8 and fp32 agree on four of five first classes of real photographs."""
    tensors = served(efficientnet, "photographs", 16)[InputDtype.FLOAT32].astype(np.float32)
    agreement = compared(logits_of(int8.path, tensors), logits_of(efficientnet.path, tensors))
    assert agreement["same_five"] >= 0.8


def test_pixels_before_a_quantised_file_change_nothing(efficientnet: Artifact, int8: Artifact) -> None:
    """A file for pixels in int8 is the calibrated one behind the normalisation."""
    pixel_file = made(efficientnet, ModelFormat.TENSORRT, Precision.INT8, InputDtype.UINT8)
    assert pixel_file.path.name == "model_int8_uint8.onnx"
    inputs = served(efficientnet)
    seen = logits_of(pixel_file.path, inputs[InputDtype.UINT8].astype(np.uint8))
    expected = logits_of(int8.path, inputs[InputDtype.FLOAT32].astype(np.float32))
    assert compared(seen, expected)["largest_error"] < 1e-5


def test_the_parts_of_the_cache_do_not_mix(efficientnet: Artifact, int8: Artifact) -> None:
    """The export's folder holds the export alone; every other file has a folder that begins with its name."""
    base = efficientnet.path.parent
    names = {each.name for each in base.iterdir() if not each.name.startswith("reference-")}
    assert names == {"card.json", "labels.json", "manifest.json", "model.onnx", "model.pt"}
    assert int8.path.parent.name.startswith(f"{base.name}-int8-onnx-")
    assert not list(Path(base.parent).glob(".building*"))
