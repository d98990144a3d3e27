"""Requests and replies on Triton's wire, checked with its own client's classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor

from pytest_servebench.errors import AnswerError
from pytest_servebench.plan import Decoder, Image, Payload, WireProtocol
from pytest_servebench.samples import Reply
from pytest_servebench.stacks import triton_wire

STATISTICS = {
    "name": "tiny_onnx",
    "version": "1",
    "inference_count": 160,
    "execution_count": 40,
    "inference_stats": {
        "success": {"count": 80, "ns": 9},
        "queue": {"count": 80, "ns": 2_000_000_000},
        "compute_input": {"count": 80, "ns": 100_000_000},
        "compute_infer": {"count": 80, "ns": 700_000_000},
        "compute_output": {"count": 80, "ns": 200_000_000},
    },
}


@pytest.fixture
def images() -> list[Image]:
    """Make two small images that differ."""
    return [
        Image(index=i, jpeg=bytes([i]) * (3 + i), tensor=np.full((3, 2, 2), i, np.float32)) for i in (4, 7)
    ]


def _http_reply(logits: np.ndarray[Any, Any]) -> Reply:
    header = {
        "model_name": "m",
        "outputs": [
            {
                "name": "output",
                "datatype": "FP32",
                "shape": list(logits.shape),
                "parameters": {"binary_data_size": logits.nbytes},
            }
        ],
    }
    text = json.dumps(header).encode()
    return Reply(200, {"inference-header-content-length": str(len(text))}, text + logits.tobytes())


def _grpc_reply(logits: np.ndarray[Any, Any]) -> Reply:
    message = service_pb2.ModelInferResponse(model_name="m")
    message.outputs.add(name="output", datatype="FP32", shape=logits.shape)
    message.raw_output_contents.append(logits.tobytes())
    return Reply(0, {}, message.SerializeToString())


def _reply(protocol: WireProtocol, logits: np.ndarray[Any, Any]) -> Reply:
    return _http_reply(logits) if protocol is WireProtocol.HTTP else _grpc_reply(logits)


def test_http_request_is_the_v2_protocol_with_binary_tensors(images: list[Image]) -> None:
    """The JSON is as long as its header says, the tensor follows it, and binary output is asked for."""
    request = triton_wire.http_request("m", Payload.TENSOR, images)
    length = int(dict(request.headers)["Inference-Header-Content-Length"])
    header = json.loads(request.body[:length])
    assert request.path == "/v2/models/m/infer"
    assert header["inputs"][0]["shape"] == [2, 3, 2, 2]
    assert header["outputs"] == [{"name": "output", "parameters": {"binary_data": True}}]
    assert request.body[length:] == np.stack([image.tensor for image in images]).tobytes()
    assert request.image_indexes == (4, 7)


def test_grpc_request_carries_raw_tensors_on_the_grpc_port(images: list[Image]) -> None:
    """The message parses back to the images in order."""
    request = triton_wire.grpc_request("m", Payload.TENSOR, images)
    message = service_pb2.ModelInferRequest.FromString(request.body)
    assert (request.path, request.port_role) == ("/inference.GRPCInferenceService/ModelInfer", "grpc")
    assert list(message.inputs[0].shape) == [2, 3, 2, 2]
    assert message.raw_input_contents[0] == np.stack([image.tensor for image in images]).tobytes()
    assert request.image_indexes == (4, 7)


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_encoded_images_keep_their_bytes_and_order(protocol: WireProtocol, images: list[Image]) -> None:
    """One encoded image per batch row, of whatever length."""
    if protocol is WireProtocol.HTTP:
        request = triton_wire.http_request("m", Payload.JPEG, images)
        length = int(dict(request.headers)["Inference-Header-Content-Length"])
        tensor, raw = json.loads(request.body[:length])["inputs"][0], request.body[length:]
        assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("image", "BYTES", [2, 1])
    else:
        message = service_pb2.ModelInferRequest.FromString(
            triton_wire.grpc_request("m", Payload.JPEG, images).body
        )
        raw = message.raw_input_contents[0]
        assert (message.inputs[0].datatype, list(message.inputs[0].shape)) == ("BYTES", [2, 1])
    assert list(deserialize_bytes_tensor(raw)) == [image.jpeg for image in images]


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_answers_are_ranked_and_keep_all_logits(protocol: WireProtocol) -> None:
    """Best class first with its softmax probability, one answer per row, in order."""
    logits = np.zeros((2, 1000), np.float32)
    logits[0, 285] = logits[1, 3] = 10
    first, second = triton_wire.answers(protocol, _reply(protocol, logits), 2)
    assert (first.class_ids[0], second.class_ids[0]) == (285, 3)
    assert first.confidences[0] == pytest.approx(np.exp(10) / (np.exp(10) + 999))
    assert first.logits is not None
    np.testing.assert_array_equal(first.logits, logits[0])


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_reply_with_another_number_of_rows_is_no_answer(protocol: WireProtocol) -> None:
    """A reply must hold exactly the images that were asked for."""
    reply = _reply(protocol, np.zeros((2, 1000), np.float32))
    with pytest.raises(AnswerError, match=r"does not hold 3 rows of 'output'\n  seen: shape \[2, 1000\]"):
        triton_wire.answers(protocol, reply, 3)


def test_reply_without_the_output_is_no_answer() -> None:
    """Another model's reply is told as such."""
    reply = _http_reply(np.zeros((1, 4), np.float32))
    other = Reply(200, reply.headers, reply.body.replace(b'"output"', b'"outlet"'))
    with pytest.raises(AnswerError, match="seen: no such output"):
        triton_wire.answers(WireProtocol.HTTP, other, 1)


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_unreadable_reply_is_no_answer(protocol: WireProtocol) -> None:
    """Broken bytes end as our error, whatever the client library stumbles on."""
    reply = Reply(200 if protocol is WireProtocol.HTTP else 0, {}, b"\xff\xfe broken")
    with pytest.raises(AnswerError, match=f"Triton's {protocol} reply could not be read"):
        triton_wire.answers(protocol, reply, 1)


def test_error_status_shows_what_the_server_said() -> None:
    """The server's own sentence is in the error, over HTTP and over gRPC."""
    with pytest.raises(AnswerError, match=r"status 400 in place of 200\n  seen: .*not a readable image"):
        triton_wire.answers(WireProtocol.HTTP, Reply(400, {}, b'{"error":"not a readable image"}'), 1)
    with pytest.raises(AnswerError, match="status 3 in place of 0\n  seen: unknown model"):
        triton_wire.answers(WireProtocol.GRPC, Reply(3, {"grpc-message": "unknown model"}, b""), 1)


def test_control_requests_name_the_model_and_the_configuration() -> None:
    """The configuration travels as JSON text inside JSON, as Triton's load request wants it."""
    load, unload = triton_wire.load_request("m", '{"name": "m"}'), triton_wire.unload_request("m")
    assert load.path == "/v2/repository/models/m/load"
    assert json.loads(json.loads(load.body)["parameters"]["config"]) == {"name": "m"}
    assert (unload.path, json.loads(unload.body)) == ("/v2/repository/models/m/unload", {})


def test_counters_are_the_models_own() -> None:
    """Images over executions is the batch; compute is input, inference and output together."""
    body = json.dumps({"model_stats": [STATISTICS]}).encode()
    counters = triton_wire.counters("tiny_onnx", Reply(200, {}, body))
    assert (counters.images, counters.executions, counters.requests) == (160, 40, 80)
    assert counters.queue_s == 2
    assert counters.compute_s == pytest.approx(1)
    assert (counters.compute_input_s, counters.compute_infer_s, counters.compute_output_s) == (0.1, 0.7, 0.2)
    assert counters.executions_by_batch is None, "an older server does not say"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"model_stats":[]}', b'{"error":"requested model is not available"}', b"[1]"]
)
def test_counters_that_are_not_there_are_an_error(body: bytes) -> None:
    """Statistics that can not be read are told, never counted as 0."""
    with pytest.raises(AnswerError, match=r"statistics of tiny_onnx could not be read\n  where: GET /v2"):
        triton_wire.counters("tiny_onnx", Reply(400, {}, body))


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_dali_is_sent_the_bytes_of_images_that_differ_in_length(
    protocol: WireProtocol, images: list[Image]
) -> None:
    """Rows of UINT8 filled up with zeros, as its own client sends them; read back by Triton's classes."""
    if protocol is WireProtocol.GRPC:
        message = service_pb2.ModelInferRequest.FromString(
            triton_wire.grpc_request("m", Payload.JPEG, images, Decoder.DALI).body
        )
        (tensor,), (raw,) = message.inputs, message.raw_input_contents
        name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
    else:
        request = triton_wire.http_request("m", Payload.JPEG, images, Decoder.DALI)
        length = int(dict(request.headers)["Inference-Header-Content-Length"])
        (said,) = json.loads(request.body[:length])["inputs"]
        name, datatype, shape, raw = said["name"], said["datatype"], said["shape"], request.body[length:]
    assert (name, datatype, shape) == ("image", "UINT8", [2, 10])
    first, second = np.frombuffer(raw, np.uint8).reshape(shape)
    assert first.tobytes() == images[0].jpeg + bytes(3)
    assert second.tobytes() == images[1].jpeg


def test_one_image_for_dali_is_the_file_as_it_is(images: list[Image]) -> None:
    """Nothing is filled up, and nothing is said before its bytes."""
    request = triton_wire.grpc_request("m", Payload.JPEG, images[:1], Decoder.DALI)
    message = service_pb2.ModelInferRequest.FromString(request.body)
    assert (list(message.inputs[0].shape), message.raw_input_contents[0]) == ([1, 7], images[0].jpeg)
