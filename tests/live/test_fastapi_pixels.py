"""The real FastAPI server on a model that takes pixels and normalises them itself."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pytest_servebench.plan import Artifact, Deployment, InputDtype, ModelFormat, WireProtocol, WireRequest
from pytest_servebench.stacks.fastapi import Fastapi
from tests.recorded_onnxruntime import CLASSES, UINT8, onnx_file
from tests.serving import Served, start
from tests.tiny_model import CARD

pytestmark = pytest.mark.live

SIDE = 224
DEPLOYMENT = Deployment(
    stack="fastapi",
    model="toy",
    format=ModelFormat.ONNX,
    input_dtype=InputDtype.UINT8,
    max_batch_size=4,
    threads=1,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a model of five classes: weighted means of an image's channels."""
    folder = tmp_path_factory.mktemp("pixels")
    (folder / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps([f"class {i}" for i in range(CLASSES)]), encoding="utf-8")
    artifact = Artifact(
        model="toy",
        format=ModelFormat.ONNX,
        path=onnx_file(folder / "model.onnx", takes=UINT8, side=SIDE),
        card_path=folder / "card.json",
        labels_path=folder / "labels.json",
        sha256="",
        weights="made up",
        input_dtype=InputDtype.UINT8,
    )
    workdir = folder / "work"
    workdir.mkdir()
    with start(Fastapi(), [DEPLOYMENT], {DEPLOYMENT.served_name: artifact}, workdir) as running:
        yield running


def pixels(count: int) -> npt.NDArray[np.uint8]:
    """Return images of noise."""
    return np.random.default_rng(3).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)


def infer(batch: npt.NDArray[np.uint8], datatype: str = "UINT8") -> WireRequest:
    """Return a request of the inference protocol with the numbers behind its JSON."""
    tensor = {
        "name": "input",
        "datatype": datatype,
        "shape": list(batch.shape),
        "parameters": {"binary_data_size": batch.nbytes},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=f"/v2/models/{DEPLOYMENT.served_name}/infer",
        headers=(("Inference-Header-Content-Length", str(len(head))),),
        body=head + batch.tobytes(),
    )


def test_pixels_are_answered_as_the_model_computes_them(server: Served) -> None:
    """One byte a number on the wire, alone and side by side, and the same logits as numpy's."""
    batch = pixels(4)
    requests = [infer(batch), *(infer(batch[i : i + 1]) for i in range(4))]
    expected = batch.astype(np.float32).mean(axis=(2, 3)) @ (np.arange(15).reshape(3, 5) / 4)
    whole, *single = [
        json.loads(reply.body)["outputs"][0]["data"] for reply in server.send_together(requests)
    ]
    assert np.reshape(whole, (4, CLASSES)) == pytest.approx(expected, rel=1e-4)
    assert np.array(single) == pytest.approx(expected, rel=1e-4)
    assert (
        json.loads(server.get(f"/v2/models/{DEPLOYMENT.served_name}").body)["inputs"][0]["datatype"]
        == "UINT8"
    )


def test_an_image_becomes_pixels_on_the_server(server: Served) -> None:
    """What preprocessing would normalise is what the model is given."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (0, 0, 200)).save(file, "PNG")
    request = WireRequest(
        protocol=WireProtocol.HTTP,
        path="/classify",
        headers=(("Content-Type", "image/png"),),
        body=file.getvalue(),
    )
    (first, *_) = json.loads(server.send(request).body)["predictions"]
    assert first["class_id"] == CLASSES - 1


def test_floats_are_refused(server: Served) -> None:
    """A client that normalised its images is told, not served a wrong answer."""
    reply = server.send(infer(pixels(1), "FP32"))
    assert reply.status == 400
    assert b"must be UINT8" in reply.body
