"""What the FastAPI stack describes, says and understands."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from starlette.requests import Request
from starlette.types import Message

from pytest_servebench.errors import AnswerError, PlanError
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.interfaces import ServerCounters, Stack
from pytest_servebench.plan import (
    CPU,
    Artifact,
    Case,
    Decoder,
    Deployment,
    Device,
    Image,
    MissingPiece,
    ModelFormat,
    Payload,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.fastapi import Fastapi
from tests.unit.stacks.unopened import unopened_artifact

STACK: Stack = Fastapi()
DEPLOYMENT = Deployment(stack="fastapi", model="resnet50", format=ModelFormat.ONNX, max_batch_size=32)


def case(payload: Payload = Payload.TENSOR, items: int = 1) -> Case:
    """Return a case of the usual deployment."""
    return Case(deployment=DEPLOYMENT, payload=payload, items_per_request=items)


def images(count: int) -> list[Image]:
    """Return distinct images, numbered from 10."""
    return [Image(10 + i, b"jpeg %d" % i, np.full((3, 224, 224), i, np.float32)) for i in range(count)]


def artifact(folder: str = "/models") -> Artifact:
    """Return an artifact that lies in ``folder``."""
    return unopened_artifact(Path(folder), DEPLOYMENT)


def tensor_reply(logits: Any, **changes: Any) -> Reply:
    """Return a v2 reply that carries ``logits``."""
    array = np.asarray(logits, np.float32)
    output = {"name": "output", "datatype": "FP32", "shape": list(array.shape), **changes}
    text = json.dumps({"outputs": [output]}).encode()
    return Reply(200, {"inference-header-content-length": str(len(text))}, text + array.tobytes())


def top5_reply(*indexes: int) -> Reply:
    """Return a reply of /classify_batch for images of these indexes."""
    predictions = [{"class_id": 3, "class_name": "c", "confidence": 0.5}]
    results = [{"image_index": index, "predictions": predictions} for index in indexes]
    return Reply(200, {}, json.dumps({"results": results}).encode())


def test_it_offers_what_its_server_can() -> None:
    """Formats with an engine, all payloads but shared memory, HTTP alone."""
    assert STACK.name == "fastapi"
    assert STACK.formats == set(ModelFormat)
    assert STACK.payloads == {Payload.TENSOR, Payload.JPEG, Payload.UINT8}
    assert STACK.protocols == {WireProtocol.HTTP}


def test_what_is_missing_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that cannot be found is named with the command that installs it."""
    gone = {"uvicorn", "torch", "onnxruntime"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in gone else object())
    assert STACK.missing([ModelFormat.PYTORCH]) == (
        MissingPiece(what="the package uvicorn", remedy='pip install "pytest-servebench[fastapi]"'),
        MissingPiece(what="the package torch", remedy='pip install "pytest-servebench[models]"'),
    )


def test_nothing_is_missing_here() -> None:
    """Every name it looks for is one that its packages really have."""
    assert STACK.missing([ModelFormat.ONNX, ModelFormat.PYTORCH]) == ()


@pytest.mark.parametrize(
    ("model_format", "device", "backend"),
    [
        (ModelFormat.ONNX, Device("cpu"), "onnxruntime CPUExecutionProvider"),
        (ModelFormat.ONNX, Device("cuda", 1), "onnxruntime CUDAExecutionProvider"),
        (ModelFormat.PYTORCH, Device("cpu"), "torch cpu"),
        (ModelFormat.PYTORCH, Device("cuda", 1), "torch cuda:1"),
    ],
)
def test_backend_is_the_engine(model_format: ModelFormat, device: Device, backend: str) -> None:
    """The record names the engine, in the server's own words."""
    assert STACK.backend(replace(DEPLOYMENT, format=model_format, device=device)) == backend


def test_launch_is_one_uvicorn_with_the_deployments_settings() -> None:
    """One worker of this Python serves the one deployment; every number of it is a setting."""
    deployment = replace(DEPLOYMENT, max_queue_delay_ms=1.5, threads=3)
    spec = STACK.launch_spec([deployment], {"resnet50_onnx": artifact()})
    argv = [Template(word).substitute(host="127.0.0.1", http_port="8123") for word in spec.argv]
    assert argv[:3] == [sys.executable, "-m", "uvicorn"]
    assert argv[argv.index("--app-dir") + 1] == str(shipped("handlers"))
    assert argv[argv.index("--host") + 1] == "127.0.0.1"
    assert argv[argv.index("--port") + 1] == "8123"
    assert {"--no-access-log", "uvloop", "httptools", "--factory"} < set(argv)
    assert spec.ready.path == "/v2/health/ready"
    settings = {k: v for k, v in spec.environment.items() if k.startswith("SERVEBENCH_")}
    assert settings == {
        "SERVEBENCH_MODEL_PATH": "/models/model.onnx",
        "SERVEBENCH_CARD_PATH": "/models/card.json",
        "SERVEBENCH_LABELS_PATH": "/models/labels.json",
        "SERVEBENCH_MODEL_NAME": "resnet50_onnx",
        "SERVEBENCH_MODEL_FORMAT": "onnx",
        "SERVEBENCH_INPUT_DTYPE": "float32",
        "SERVEBENCH_DECODER": "pillow",
        "SERVEBENCH_DEVICE": "cpu",
        "SERVEBENCH_PRECISION": "fp32",
        "SERVEBENCH_THREADS": "3",
        "SERVEBENCH_MAX_BATCH_SIZE": "32",
        "SERVEBENCH_MAX_QUEUE_DELAY_MS": "1.5",
        "SERVEBENCH_QUEUE_SIZE": "1024",
    }
    assert spec.environment["OMP_NUM_THREADS"] == "3"
    assert spec.environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_gpus_are_counted_as_leases_and_telemetry_do() -> None:
    """By their slots; a server on a CPU is told nothing of GPUs."""
    for device, order in ((Device("cuda", 1), "PCI_BUS_ID"), (CPU, None)):
        spec = STACK.launch_spec([replace(DEPLOYMENT, device=device)], {"resnet50_onnx": artifact()})
        assert spec.environment.get("CUDA_DEVICE_ORDER") == order


def test_dollar_signs_in_paths_survive_the_launchers_template() -> None:
    """A path is a path, whatever characters it holds."""
    spec = STACK.launch_spec([DEPLOYMENT], {"resnet50_onnx": artifact("/my $HOME/${x}")})
    template = Template(spec.environment["SERVEBENCH_MODEL_PATH"])
    assert template.substitute() == "/my $HOME/${x}/model.onnx"


def test_several_deployments_are_refused() -> None:
    """A server without a control API is given exactly one deployment."""
    with pytest.raises(PlanError, match="serves one deployment at a time"):
        STACK.launch_spec([DEPLOYMENT, DEPLOYMENT], {"resnet50_onnx": artifact()})


@pytest.mark.parametrize("items", [1, 3])
def test_tensor_request_is_tritonclients(items: int) -> None:
    """The request is byte for byte what the official client would send."""
    client = pytest.importorskip("tritonclient.http")
    tensor = np.stack([image.tensor for image in images(items)])
    wanted = client.InferInput("input", list(tensor.shape), "FP32")
    wanted.set_data_from_numpy(tensor)
    body, header_length = client.InferenceServerClient.generate_request_body([wanted])
    request = STACK.encode(case(items=items), images(items))
    assert request.body == body
    assert dict(request.headers)["Inference-Header-Content-Length"] == str(header_length)
    assert request.path == "/v2/models/resnet50_onnx/infer"
    assert request.image_indexes == tuple(range(10, 10 + items))


@pytest.mark.parametrize(
    ("items", "path", "field"), [(1, "/classify_batched", "file"), (3, "/classify_batch", "files")]
)
def test_jpeg_request_is_a_form(items: int, path: str, field: str) -> None:
    """JPEG travels as the multipart form that the server's own parser reads, in order."""
    request = STACK.encode(case(Payload.JPEG, items), images(items))
    assert (request.method, request.path) == ("POST", path)
    assert {name.lower() for name, _ in request.headers} == {"content-type"}
    assert form_of(request) == [(field, b"jpeg %d" % i) for i in range(items)]


def form_of(request: WireRequest) -> list[tuple[str, bytes]]:
    """Return the fields of a form as starlette reads it."""

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def read() -> list[tuple[str, bytes]]:
        headers = [(name.lower().encode(), value.encode()) for name, value in request.headers]
        scope = {"type": "http", "method": "POST", "path": request.path, "headers": headers}
        async with Request(scope, receive).form() as form:
            return [
                (name, await file.read()) for name, file in form.multi_items() if not isinstance(file, str)
            ]

    return asyncio.run(read())


def test_tensor_reply_gives_logits_and_their_top5() -> None:
    """Each row of logits is one answer: best classes first, with softmax probabilities."""
    logits = np.zeros((2, 10), np.float32)
    logits[0, 4], logits[0, 7], logits[1, 2] = 3, 2, 1
    first, second = STACK.decode(case(items=2), tensor_reply(logits))
    assert first.class_ids[:2] == (4, 7)
    assert second.class_ids[0] == 2
    assert len(first.class_ids) == 5
    assert first.confidences[0] == pytest.approx(np.exp(3) / (np.exp(3) + np.exp(2) + 8))
    assert second.logits is not None
    assert np.array_equal(second.logits, logits[1])


def test_top5_replies_are_read() -> None:
    """One image's answer and a batch's are both answers, without logits."""
    (answer,) = STACK.decode(
        case(Payload.JPEG),
        Reply(200, {}, b'{"predictions": [{"class_id": 3, "confidence": 0.5}], "image_index": 0}'),
    )
    assert (answer.class_ids, answer.confidences, answer.logits) == ((3,), (0.5,), None)
    assert len(STACK.decode(case(Payload.JPEG, 2), top5_reply(0, 1))) == 2


@pytest.mark.parametrize(
    ("payload", "items", "reply", "message"),
    [
        (Payload.TENSOR, 1, Reply(503, {}, b'{"error": "full"}'), r'HTTP 503: \{"error": "full"\}'),
        (Payload.TENSOR, 1, Reply(200, {}, b"{}"), "KeyError: 'inference-header-content-length'"),
        (Payload.TENSOR, 1, Reply(200, {"inference-header-content-length": "x"}, b"{}"), "ValueError"),
        (Payload.TENSOR, 1, tensor_reply([[1, 2]], name="other"), "output is 'other' 'FP32'"),
        (Payload.TENSOR, 1, tensor_reply([[1, 2]], datatype="FP16"), "output is 'output' 'FP16'"),
        (Payload.TENSOR, 1, tensor_reply([[1, 2]], shape=[1, 3]), "cannot reshape"),
        (Payload.TENSOR, 2, tensor_reply([[1, 2]]), "1 answers for 2 images"),
        (Payload.JPEG, 1, Reply(200, {}, b"\xff"), "UnicodeDecodeError"),
        (Payload.JPEG, 1, Reply(200, {}, b"[]"), "AttributeError"),
        (Payload.JPEG, 1, Reply(200, {}, b'{"predictions": [], "image_index": 0}'), "no predictions"),
        (Payload.JPEG, 2, top5_reply(1, 0), "not in the order of the images"),
        (Payload.JPEG, 2, top5_reply(0), "1 answers for 2 images"),
    ],
)
def test_reply_that_is_no_answer_is_an_error(
    payload: Payload, items: int, reply: Reply, message: str
) -> None:
    """Whatever comes instead of the answer is an AnswerError that shows it and names the case."""
    with pytest.raises(AnswerError, match=message) as wrong:
        STACK.decode(case(payload, items), reply)
    assert wrong.value.where == case(payload, items).id


def test_counters_are_this_models() -> None:
    """Images, executions and times are read from the metrics, of this model only."""
    lines = [
        'batch_size_distribution_sum{model="resnet50_onnx"} 64',
        'batch_size_distribution_count{model="resnet50_onnx"} 8',
        'batch_size_distribution_count{model="other"} 99',
        'image_classification_queue_seconds_sum{model="resnet50_onnx"} 1.5',
        'image_classification_queue_seconds_count{model="resnet50_onnx"} 60',
        'image_classification_compute_seconds_sum{model="resnet50_onnx"} 2.5',
    ]
    request = STACK.counters_request(DEPLOYMENT)
    assert request is not None
    assert (request.method, request.path) == ("GET", "/metrics")
    assert STACK.counters(DEPLOYMENT, Reply(200, {}, "\n".join(lines).encode() + b"\n")) == ServerCounters(
        images=64, executions=8, queue_s=1.5, compute_s=2.5, requests=60
    )


def test_counters_that_are_not_there_are_none() -> None:
    """A metric that the server does not report is None, never 0."""
    assert STACK.counters(DEPLOYMENT, Reply(200, {}, b"")) == ServerCounters()


@pytest.mark.parametrize(
    "reply", [Reply(200, {}, b"\xff\xfe"), Reply(200, {}, b"a{ 1\n"), Reply(500, {}, b"")]
)
def test_metrics_that_cannot_be_read_are_an_error(reply: Reply) -> None:
    """Text that is no metrics is an AnswerError, not a missing figure."""
    with pytest.raises(AnswerError, match="metrics of fastapi cannot be read"):
        STACK.counters(DEPLOYMENT, reply)


def test_real_images_survive_the_form() -> None:
    """JPEG bytes, with every byte value in them, arrive as they were."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Picture.fromarray(noise).save(file, "JPEG")
    image = Image(0, file.getvalue(), np.zeros((3, 224, 224), np.float32))
    assert form_of(STACK.encode(case(Payload.JPEG), [image])) == [("file", file.getvalue())]


@pytest.mark.parametrize("decoder", [Decoder.PILLOW, Decoder.AUTO, Decoder.NVJPEG])
def test_the_server_is_told_what_decodes(decoder: Decoder) -> None:
    """By the word that its settings know, whatever the caller's own environment has."""
    spec = STACK.launch_spec([replace(DEPLOYMENT, decoder=decoder)], {"resnet50_onnx": artifact()})
    assert spec.environment["SERVEBENCH_DECODER"] == str(decoder)
