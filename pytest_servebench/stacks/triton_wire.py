"""What is said on Triton's wire: requests and replies, by its own client's classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import AnswerError
from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import Decoder, Image, Payload, WireProtocol, WireRequest
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.tensors import datatype_of, tensor_of

Floats = npt.NDArray[np.float32]

OUTPUT = "output"
_INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_NS_PER_S = 1e9
_SEEN_CHARACTERS = 400
_TOP = 5
_LOGITS_DIMENSIONS = 2
_READ_LOG = "read the server's log for the model that failed"


def http_request(
    model: str, payload: Payload, images: Sequence[Image], decoder: Decoder = Decoder.PILLOW
) -> WireRequest:
    """Return the HTTP request for ``images``: the v2 protocol with binary tensors both ways."""
    from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

    name, datatype, array = _tensor(payload, images, decoder)
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=True)
    body, json_bytes = InferenceServerClient.generate_request_body(
        [tensor], outputs=[InferRequestedOutput(OUTPUT, binary_data=True)]
    )
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=f"/v2/models/{model}/infer",
        headers=(
            ("Content-Type", "application/octet-stream"),
            ("Inference-Header-Content-Length", str(json_bytes)),
        ),
        body=body,
        image_indexes=tuple(image.index for image in images),
    )


def grpc_request(
    model: str, payload: Payload, images: Sequence[Image], decoder: Decoder = Decoder.PILLOW
) -> WireRequest:
    """Return the gRPC request for ``images``, its tensor as raw bytes."""
    from tritonclient.grpc import service_pb2
    from tritonclient.utils import serialize_byte_tensor

    name, datatype, array = _tensor(payload, images, decoder)
    raw = serialize_byte_tensor(array).item() if datatype == "BYTES" else array.tobytes()
    message = service_pb2.ModelInferRequest(model_name=model)
    message.inputs.add(name=name, datatype=datatype, shape=array.shape)
    message.outputs.add(name=OUTPUT)
    message.raw_input_contents.append(raw)
    return WireRequest(
        protocol=WireProtocol.GRPC,
        path=_INFER_METHOD,
        body=message.SerializeToString(),
        port_role="grpc",
        image_indexes=tuple(image.index for image in images),
    )


def answers(protocol: WireProtocol, reply: Reply, items: int) -> tuple[Answer, ...]:
    """Return one answer per image of a reply that must hold ``items`` of them; raises `AnswerError`."""
    expected_status = 200 if protocol is WireProtocol.HTTP else 0
    if reply.status != expected_status:
        raise AnswerError(
            f"Triton answered {protocol} with status {reply.status} in place of {expected_status}",
            seen=_excerpt(reply),
            next_step=_READ_LOG,
        )
    try:
        logits = _http_logits(reply) if protocol is WireProtocol.HTTP else _grpc_logits(reply)
    except Exception as error:
        # Its client raises whatever the broken byte made it stumble on.
        raise AnswerError(
            f"Triton's {protocol} reply could not be read",
            seen=f"{type(error).__name__}: {error}",
            next_step=_READ_LOG,
        ) from error
    if logits is None or logits.ndim != _LOGITS_DIMENSIONS or len(logits) != items:
        raise AnswerError(
            f"Triton's reply does not hold {items} rows of {OUTPUT!r}",
            seen="no such output" if logits is None else f"shape {list(logits.shape)}",
            next_step=_READ_LOG,
        )
    return tuple(_answer(row) for row in logits)


def load_request(model: str, config_json: str) -> WireRequest:
    """Return the request after which ``model`` is ready with that configuration."""
    return _control(model, "load", {"parameters": {"config": config_json}})


def unload_request(model: str) -> WireRequest:
    """Return the request after which ``model`` answers no more."""
    return _control(model, "unload", {})


def statistics_request(model: str) -> WireRequest:
    """Return the request for the counters of ``model``."""
    return WireRequest(protocol=WireProtocol.HTTP, path=f"/v2/models/{model}/stats", body=b"", method="GET")


def counters(model: str, reply: Reply) -> ServerCounters:
    """Return the counters in a reply to `statistics_request`; raises `AnswerError`.

    Triton counts per request: each request of a batch is charged the whole batch's
    compute time, which is what that request waited for.
    """
    try:
        (entry,) = (one for one in json.loads(reply.body)["model_stats"] if one["name"] == model)
        durations = entry["inference_stats"]
        parts = ("compute_input", "compute_infer", "compute_output")
        compute_s = {f"{part}_s": durations[part]["ns"] / _NS_PER_S for part in parts}
        return ServerCounters(
            images=float(entry["inference_count"]),
            executions=float(entry["execution_count"]),
            queue_s=durations["queue"]["ns"] / _NS_PER_S,
            compute_s=sum(compute_s.values()),
            **compute_s,
            requests=float(durations["success"]["count"]),
            executions_by_batch=_by_batch(entry.get("batch_stats")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerError(
            f"Triton's statistics of {model} could not be read",
            where=f"GET /v2/models/{model}/stats, status {reply.status}",
            seen=_excerpt(reply),
            next_step=_READ_LOG,
        ) from error


def _by_batch(statistics: list[dict[str, Any]] | None) -> dict[str, float] | None:
    """Return executions by their number of images; None from a server that does not keep them apart."""
    if statistics is None:
        return None
    return {str(one["batch_size"]): float(one["compute_infer"]["count"]) for one in statistics}


def _tensor(payload: Payload, images: Sequence[Image], decoder: Decoder) -> tuple[str, str, npt.NDArray[Any]]:
    if payload is not Payload.JPEG:
        array = tensor_of(payload, images)
        return "input", datatype_of(array), array
    if decoder is Decoder.DALI:
        return "image", "UINT8", _padded(images)
    encoded = np.empty((len(images), 1), dtype=np.object_)
    encoded[:, 0] = [image.jpeg for image in images]
    return "image", "BYTES", encoded


def _padded(images: Sequence[Image]) -> npt.NDArray[np.uint8]:
    """Return [n, length of the longest] of encoded images, as DALI's backend takes several in one request.

    Its own client fills up with zeros as well; a decoder stops at the end of the image.
    """
    rows = np.zeros((len(images), max(len(image.jpeg) for image in images)), dtype=np.uint8)
    for row, image in zip(rows, images, strict=True):
        row[: len(image.jpeg)] = np.frombuffer(image.jpeg, dtype=np.uint8)
    return rows


def _http_logits(reply: Reply) -> Floats | None:
    from tritonclient.http import InferResult

    length = reply.headers.get("inference-header-content-length")
    result = InferResult.from_response_body(reply.body, header_length=int(length) if length else None)
    return _floats(result.as_numpy(OUTPUT))


def _grpc_logits(reply: Reply) -> Floats | None:
    from tritonclient.grpc import InferResult, service_pb2

    result = InferResult(service_pb2.ModelInferResponse.FromString(reply.body))
    return _floats(result.as_numpy(OUTPUT))


def _floats(array: npt.NDArray[Any] | None) -> Floats | None:
    return None if array is None else np.asarray(array, dtype=np.float32)


def _answer(logits: Floats) -> Answer:
    with np.errstate(invalid="ignore"):  # scores that are no numbers are for the verification to find
        shifted = np.exp(logits.astype(np.float64) - logits.max())
        probabilities = shifted / shifted.sum()
    best = np.argsort(-probabilities, kind="stable")[:_TOP]
    return Answer(
        class_ids=tuple(int(i) for i in best),
        confidences=tuple(float(probabilities[i]) for i in best),
        logits=logits,
    )


def _control(model: str, verb: str, body: dict[str, Any]) -> WireRequest:
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=f"/v2/repository/models/{model}/{verb}",
        headers=(("Content-Type", "application/json"),),
        body=json.dumps(body).encode(),
    )


def _excerpt(reply: Reply) -> str:
    text = reply.headers.get("grpc-message") or reply.body.decode("utf-8", errors="replace")
    return text[:_SEEN_CHARACTERS] or "an empty reply"
