"""The real tritonserver takes pixels as bytes where the served graph begins with the normalisation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.models.preprocessing import pixels_of
from pytest_servebench.plan import Artifact, Case, Deployment, Image, InputDtype, ModelFormat, WireRequest
from pytest_servebench.stacks.triton import Triton
from tests.live.conftest import CARD
from tests.serving import Served, start

pytestmark = pytest.mark.live

STACK = Triton()
FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)


def deployment(model_format: ModelFormat, dtype: InputDtype = InputDtype.UINT8) -> Deployment:
    """Return the tiny model of pixels."""
    return Deployment(stack="triton", model="tiny", format=model_format, input_dtype=dtype, max_batch_size=4)


def of_pixels(artifact: Artifact, folder: Path) -> Artifact:
    """Return the model with a graph that normalises what it takes."""
    path = folder / artifact.path.name
    make = _onnx_of_pixels if artifact.format is ModelFormat.ONNX else _torch_of_pixels
    make(artifact.path, path)
    return replace(artifact, path=path, input_dtype=InputDtype.UINT8)


def _onnx_of_pixels(source: Path, target: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(source))
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["normal" if name == "input" else name for name in node.input]
    mean, std = (255 * np.array(each, np.float32).reshape(3, 1, 1) for each in (CARD.mean, CARD.std))
    graph.initializer.extend([numpy_helper.from_array(mean, "mean"), numpy_helper.from_array(std, "std")])
    first = (
        helper.make_node("Cast", ["input"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
    )
    for node in reversed(first):
        graph.node.insert(0, node)
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    onnx.save(model, str(target))


def _torch_of_pixels(source: Path, target: Path) -> None:
    import torch

    class OfPixels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.jit.load(str(source))
            self.mean = torch.tensor(CARD.mean).reshape(3, 1, 1) * 255
            self.std = torch.tensor(CARD.std).reshape(3, 1, 1) * 255

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            normal: torch.Tensor = self.inner((pixels.float() - self.mean) / self.std)
            return normal

    with warnings.catch_warnings():
        # As in tests/tiny_model.py: torch announces the end of TorchScript at each call.
        warnings.simplefilter("ignore")
        torch.jit.trace(OfPixels(), torch.zeros(2, 3, 224, 224, dtype=torch.uint8)).save(str(target))


@pytest.fixture(scope="module")
def server(artifacts: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the model of pixels and the one of floats, in both formats."""
    folder = tmp_path_factory.mktemp("pixels")
    served = dict(artifacts)
    for each in FORMATS:
        served[deployment(each).served_name] = of_pixels(artifacts[f"tiny_{each}"], folder)
    deployments = [deployment(each, dtype) for each in FORMATS for dtype in InputDtype]
    with start(STACK, deployments, served, tmp_path_factory.mktemp("a server")) as server:
        yield server


def request_for(of: Deployment, pixels: npt.NDArray[np.uint8]) -> WireRequest:
    """Return the HTTP request with pixels as bytes, made by Triton's own client."""
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    tensor = InferInput("input", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=True)
    outputs = [InferRequestedOutput("output", binary_data=True)]
    body, size = InferenceServerClient.generate_request_body([tensor], outputs=outputs)
    headers = (("Inference-Header-Content-Length", str(size)),)
    shape = STACK.encode(Case(deployment=of), [Image(0, b"", np.zeros((3, 224, 224), np.float32))])
    return replace(shape, body=body, headers=headers)


@pytest.mark.parametrize("model_format", FORMATS)
def test_pixels_are_answered_as_the_floats_made_of_them(
    server: Served, images: list[Image], logits: npt.NDArray[np.float32], model_format: ModelFormat
) -> None:
    """A quarter of the bytes, the same logits; the model of floats is loaded after it all the same."""
    of = deployment(model_format)
    pixels = np.stack([pixels_of(image.jpeg, CARD) for image in images[:3]])
    request = request_for(of, pixels)
    with server.loaded(of):
        answers = STACK.decode(Case(deployment=of, items_per_request=3), server.send(request))
    got = np.stack([answer.logits for answer in answers if answer.logits is not None])
    np.testing.assert_allclose(got, logits[:3], atol=2e-3)
    floats = deployment(model_format, InputDtype.FLOAT32)
    with server.loaded(floats):
        case = Case(deployment=floats, items_per_request=3)
        assert len(server.ask(case, images[:3])) == 3
        assert len(request.body) * 4 == pytest.approx(len(STACK.encode(case, images[:3]).body), rel=0.01)


def test_floats_are_refused_by_a_model_of_pixels(server: Served, images: list[Image]) -> None:
    """The type is the configuration's: bytes of another are no pixels."""
    of = deployment(ModelFormat.ONNX)
    with server.loaded(of):
        reply = server.send(STACK.encode(Case(deployment=of), images[:1]))
    assert reply.status == 400
    assert b"UINT8" in reply.body
