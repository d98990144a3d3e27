"""The TorchServe stack: what it says on the wire and reads from it, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from python_multipart.multipart import parse_options_header

from pytest_servebench.errors import AnswerError
from pytest_servebench.interfaces import ModelControl, ServerCounters, Stack
from pytest_servebench.plan import (
    Case,
    Deployment,
    Image,
    ModelFormat,
    Payload,
)
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.torchserve import Torchserve
from tests.unit.stacks.unopened import torchserve_deployment as deployment

STACK = Torchserve()


def images(count: int) -> list[Image]:
    """Return images numbered from 7, each filled with its position."""
    return [
        Image(
            index=i + 7, jpeg=b"\xff\xd8\xff" + bytes([i]) * 9, tensor=np.full((3, 224, 224), i, np.float32)
        )
        for i in range(count)
    ]


def case(payload: Payload = Payload.TENSOR, items: int = 1) -> Case:
    """Return a case of the default deployment."""
    return Case(deployment=deployment(), payload=payload, items_per_request=items)


def reply(body: object, status: int = 200) -> Reply:
    """Return a JSON reply."""
    return Reply(status, {}, json.dumps(body).encode())


def predictions(*class_ids: int) -> list[dict[str, object]]:
    """Return classes as the handler names them."""
    return [{"class_id": i, "class_name": "x", "confidence": 0.5} for i in class_ids]


def test_it_satisfies_the_contracts() -> None:
    """The class is a Stack and a ModelControl by shape; mypy holds the types, this the instance."""
    stack: Stack = STACK
    control: ModelControl = STACK
    assert stack.name == "torchserve"
    assert control.load_requests(deployment())


@pytest.mark.parametrize(
    ("batch", "delay_ms", "expected_ms"),
    [(1, 5.0, 0), (8, 2.0, 2), (8, 2.1, 3), (8, 0.0, 1), (8, 0.2, 1)],
)
def test_the_batch_delay_is_whole_milliseconds(batch: int, delay_ms: float, expected_ms: int) -> None:
    """Rounded up to at least 1, since at 0 a batch ends after two requests; none at batch size 1."""
    served = deployment(batch=batch, delay_ms=delay_ms)
    (request,) = STACK.load_requests(served)
    query = parse_qs(urlsplit(request.path).query)
    assert query["max_batch_delay"] == [str(expected_ms)]
    assert query["batch_size"] == [str(batch)]
    suffix = f", holds up to {expected_ms} ms" if expected_ms else ""
    assert STACK.backend(served) == f"torchserve handler: onnxruntime CPU{suffix}"


def test_a_model_is_registered_and_unregistered_by_management() -> None:
    """Loading returns when the worker is up; the archive is the one that was laid out."""
    (load,) = STACK.load_requests(deployment())
    query = parse_qs(urlsplit(load.path).query)
    assert (load.method, load.port_role, urlsplit(load.path).path) == ("POST", "management", "/models")
    assert query["url"] == ["resnet50_onnx-cpu-fp32-t2"]
    assert query["model_name"] == ["resnet50_onnx"]
    assert (query["synchronous"], query["initial_workers"]) == (["true"], ["1"])
    (unload,) = STACK.unload_requests(deployment())
    assert (unload.method, unload.port_role, unload.path) == ("DELETE", "management", "/models/resnet50_onnx")


def test_a_worker_that_compiles_may_take_minutes_to_start() -> None:
    """TorchServe ends a worker that has not loaded its model in two minutes, unless it is told otherwise."""
    compiled = replace(deployment(), format=ModelFormat.TENSORRT)
    queries = [parse_qs(urlsplit(STACK.load_requests(one)[0].path).query) for one in (compiled, deployment())]
    assert [query.get("startup_timeout") for query in queries] == [["900"], None]


def test_tensors_travel_as_little_endian_float32() -> None:
    """Several images are one body, under the content type the handler reads as numbers."""
    request = STACK.encode(case(items=2), images(2))
    assert request.path == "/predictions/resnet50_onnx"
    assert dict(request.headers) == {"content-type": "application/x-float32"}
    assert len(request.body) == 2 * 3 * 224 * 224 * 4
    assert np.frombuffer(request.body, "<f4").reshape(2, -1)[:, 0].tolist() == [0.0, 1.0]
    assert request.image_indexes == (7, 8)


def test_one_jpeg_travels_as_it_is() -> None:
    """A single image is the body."""
    request = STACK.encode(case(Payload.JPEG), images(1))
    assert request.body == images(1)[0].jpeg
    assert dict(request.headers) == {"content-type": "image/jpeg"}


def test_several_jpegs_are_parts_under_names_of_their_own() -> None:
    """TorchServe keeps one part per name; Host and Content-Length are the driver's business."""
    request = STACK.encode(case(Payload.JPEG, 3), images(3))
    headers = dict(request.headers)
    assert set(headers) == {"content-type"}
    kind, options = parse_options_header(headers["content-type"])
    assert kind == b"multipart/form-data"
    parts = request.body.split(b"--" + options[b"boundary"])[1:-1]
    assert [part.split(b'name="')[1].split(b'"')[0] for part in parts] == [b"image_0", b"image_1", b"image_2"]
    assert all(image.jpeg in part for image, part in zip(images(3), parts, strict=True))


def test_an_answer_is_read_for_one_and_for_several() -> None:
    """Classes and confidences come in the server's order, one answer per image."""
    (one,) = STACK.decode(case(), reply({"predictions": predictions(3, 1)}))
    assert (one.class_ids, one.confidences, one.logits) == ((3, 1), (0.5, 0.5), None)
    rows = [{"image_index": i, "predictions": predictions(i)} for i in range(2)]
    assert [a.class_ids for a in STACK.decode(case(items=2), reply({"results": rows}))] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("answered", "seen"),
    [
        (reply({"code": 400, "message": "image 0: not a readable image"}, 400), "status 400"),
        (Reply(200, {}, b"<html>"), "JSONDecodeError"),
        (reply({"nothing": 1}), "KeyError: 'predictions'"),
        (reply({"predictions": []}), "no predictions"),
        (reply([1]), "TypeError"),
        (reply({"predictions": [{"class_id": "x", "confidence": 1}]}), "ValueError"),
        (reply({"results": [{"predictions": predictions(1)}] * 2}), "2 answers for 1 images"),
    ],
    ids=["status", "not-json", "no-field", "empty", "list", "no-number", "count"],
)
def test_a_reply_that_is_no_answer_says_what_was_seen(answered: Reply, seen: str) -> None:
    """The error names the case, the path, what was seen and the body's begin."""
    with pytest.raises(AnswerError) as raised:
        STACK.decode(case(), answered)
    assert seen in raised.value.seen
    assert answered.body[:10].decode() in raised.value.seen
    assert raised.value.where == f"{case().id}, POST /predictions/resnet50_onnx"


METRICS = """\
# HELP ts_queue_latency_microseconds x
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{model_name="resnet50_onnx",model_version="default",hostname="h",} 1000.5
ts_queue_latency_microseconds{model_name="resnet50_pytorch",model_version="default",hostname="h",} 7.0
# HELP ts_inference_requests_total x
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="resnet50_onnx",model_version="default",hostname="h",} 5.0
# HELP batch_size_distribution x
# TYPE batch_size_distribution histogram
batch_size_distribution_bucket{model_name="resnet50_onnx",Hostname="h",le="5.0",} 4.0
batch_size_distribution_bucket{model_name="resnet50_onnx",Hostname="h",le="+Inf",} 4.0
batch_size_distribution_count{model_name="resnet50_onnx",Hostname="h",} 4.0
batch_size_distribution_sum{model_name="resnet50_onnx",Hostname="h",} 8.0
# HELP ts_inference_latency_microseconds x
# TYPE ts_inference_latency_microseconds counter
ts_inference_latency_microseconds{model_name="resnet50_onnx",model_version="default",hostname="h",} 4000.5
"""


def test_counters_are_one_models_own() -> None:
    """Queue and compute are apart, although the server's inference time counts from arrival."""
    counters = STACK.counters(deployment(), Reply(200, {}, METRICS.encode()))
    assert counters == ServerCounters(
        images=8.0,
        executions=4.0,
        queue_s=0.0010005,
        compute_s=0.003,
        requests=5.0,
        executions_by_batch={"5": 4.0, "+Inf": 0.0},
    )


def test_a_counter_that_has_not_begun_is_zero_and_one_that_is_not_kept_is_none() -> None:
    """A model nobody asked yet has counted 0; a server without the handler's metric reports none."""
    unasked = Deployment(stack="torchserve", model="other", format=ModelFormat.ONNX)
    assert STACK.counters(unasked, Reply(200, {}, METRICS.encode())).executions == 0.0
    foreign = "\n".join(line for line in METRICS.splitlines() if "batch_size_distribution" not in line)
    counters = STACK.counters(deployment(), Reply(200, {}, foreign.encode()))
    assert (counters.images, counters.executions) == (None, None)
    assert (counters.handler_s, counters.executions_by_batch) == (None, None)
    assert counters.requests == 5.0
    request = STACK.counters_request(deployment())
    assert (request.method, request.path, request.port_role) == ("GET", "/metrics", "metrics")
