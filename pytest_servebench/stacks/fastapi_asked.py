"""FastAPI's server as it is asked, wherever it runs: requests, replies, counters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from prometheus_client.parser import text_string_to_metric_families

from pytest_servebench.errors import AnswerError
from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import (
    Case,
    Decoder,
    Deployment,
    Image,
    ModelFormat,
    Payload,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Answer, Served
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.exposition import by_bound
from pytest_servebench.stacks.facts import json_of, served_of
from pytest_servebench.stacks.tensors import datatype_of, tensor_of

_HEADER_LENGTH = "Inference-Header-Content-Length"
_OK = 200
_SEE_LOG = "see the server's log"
_BOUNDARY = "servebench-8c1f2ab0e7c34e0b9d5f6a1c"
"""Between the files of a form; not drawn anew, so that equal images make an equal request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFastapi:
    """What is the same of the stack ``fastapi`` as a local process and in a container."""

    name: str = "fastapi"
    formats: frozenset[ModelFormat] = frozenset(ModelFormat)
    payloads: frozenset[Payload] = frozenset({Payload.TENSOR, Payload.JPEG, Payload.UINT8})
    protocols: frozenset[WireProtocol] = frozenset({WireProtocol.HTTP})
    decoders: frozenset[Decoder] = frozenset({Decoder.PILLOW, Decoder.NVJPEG})

    def backend(self, deployment: Deployment) -> str:
        """Return the engine as the server's ``/health`` names it; which TensorRT it is, only that says."""
        if deployment.format is ModelFormat.PYTORCH:
            return f"torch {deployment.device}"
        if deployment.format is ModelFormat.TENSORRT:
            return "onnxruntime TensorRT"
        provider = "CPU" if deployment.device.kind == "cpu" else "CUDA"
        return f"onnxruntime {provider}ExecutionProvider"

    def served_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:  # noqa: ARG002 (one server, one model)
        """Return the request for what the server says of itself."""
        return (WireRequest(protocol=WireProtocol.HTTP, method="GET", path="/health", body=b""),)

    def served(self, deployment: Deployment, replies: Sequence[Reply], log: str) -> Served:  # noqa: ARG002 (as above)
        """Return what ``/health`` has as ``served``."""
        told = json_of(replies[0].body)
        return served_of(told.get("served") if isinstance(told, dict) else None, "GET /health")

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return a v2 request with a binary tensor, or a multipart upload of JPEG files."""
        if case.payload is Payload.JPEG:
            return _jpeg_request(images)
        return _tensor_request(case, images)

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return the answers: all logits for tensors, named top-5 for JPEG."""
        if reply.status != _OK:
            raise AnswerError(
                "fastapi refused the request",
                where=case.id,
                seen=f"HTTP {reply.status}: {reply.body[:300].decode(errors='replace')}",
                next_step=_SEE_LOG,
            )
        try:
            answers = _read_top5(reply) if case.payload is Payload.JPEG else _read_logits(reply)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise AnswerError(
                "a reply of fastapi is not the answer it should be",
                where=case.id,
                seen=f"{type(error).__name__}: {error}; {reply.body[:120]!r}",
                next_step=_SEE_LOG,
            ) from error
        if len(answers) != case.items_per_request:
            raise AnswerError(
                "fastapi answered for another number of images than it was sent",
                where=case.id,
                seen=f"{len(answers)} answers for {case.items_per_request} images",
                next_step=_SEE_LOG,
            )
        return answers

    def counters_request(self, deployment: Deployment) -> WireRequest | None:  # noqa: ARG002 (one server, one model)
        """Return the request for the server's Prometheus metrics."""
        return WireRequest(protocol=WireProtocol.HTTP, method="GET", path="/metrics", body=b"")

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return the counters in the metrics text; raises `AnswerError` when it is none."""
        try:
            values = dict(_samples(reply, deployment.served_name))
            by_batch = by_bound(_text(reply), "batch_size_distribution", deployment.served_name)
        except ValueError as error:
            raise AnswerError(
                "the metrics of fastapi cannot be read", where="/metrics", seen=str(error), next_step=_SEE_LOG
            ) from error
        return ServerCounters(
            images=values.get("batch_size_distribution_sum"),
            executions=values.get("batch_size_distribution_count"),
            queue_s=values.get("image_classification_queue_seconds_sum"),
            compute_s=values.get("image_classification_compute_seconds_sum"),
            requests=values.get("image_classification_queue_seconds_count"),
            executions_by_batch=by_batch,
        )


def _tensor_request(case: Case, images: Sequence[Image]) -> WireRequest:
    tensor = tensor_of(case.payload, images)
    data = tensor.tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "input",
                    "shape": list(tensor.shape),
                    "datatype": datatype_of(tensor),
                    "parameters": {"binary_data_size": len(data)},
                }
            ],
            "parameters": {"binary_data_output": True},
        },
        separators=(",", ":"),
    ).encode()
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=f"/v2/models/{case.deployment.served_name}/infer",
        body=head + data,
        headers=((_HEADER_LENGTH, str(len(head))), ("Content-Type", "application/octet-stream")),
        image_indexes=tuple(image.index for image in images),
    )


def _jpeg_request(images: Sequence[Image]) -> WireRequest:
    field, path = ("file", "/classify_batched") if len(images) == 1 else ("files", "/classify_batch")
    files = [(field, (f"{image.index}.jpg", image.jpeg, "image/jpeg")) for image in images]
    kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    request = httpx.Request("POST", f"http://localhost{path}", files=files, headers=kind)
    return WireRequest(
        protocol=WireProtocol.HTTP,
        path=path,
        body=request.read(),
        headers=(("Content-Type", request.headers["Content-Type"]),),
        image_indexes=tuple(image.index for image in images),
    )


def _read_logits(reply: Reply) -> tuple[Answer, ...]:
    length = int(reply.headers[_HEADER_LENGTH.lower()])
    (output,) = json.loads(reply.body[:length])["outputs"]
    if (output["name"], output["datatype"]) != ("output", "FP32"):
        raise ValueError(f"output is {output['name']!r} {output['datatype']!r}")
    logits = np.frombuffer(reply.body, dtype="<f4", offset=length).reshape(output["shape"])
    return tuple(_answer_of(row) for row in logits)


def _answer_of(logits: npt.NDArray[np.float32]) -> Answer:
    with np.errstate(invalid="ignore"):  # scores that are no numbers are for the verification to find
        shifted = np.exp(logits - logits.max())
        confidences = shifted / shifted.sum()
    best = np.argsort(-logits, kind="stable")[:5]
    return Answer(tuple(best.tolist()), tuple(confidences[best].tolist()), logits)


def _read_top5(reply: Reply) -> tuple[Answer, ...]:
    document: dict[str, Any] = json.loads(reply.body)
    results = document.get("results", [document])
    if [result["image_index"] for result in results] != list(range(len(results))):
        raise ValueError("results are not in the order of the images")
    return tuple(_named_answer(result["predictions"]) for result in results)


def _named_answer(predictions: list[dict[str, Any]]) -> Answer:
    if not predictions:
        raise ValueError("no predictions")
    return Answer(
        tuple(int(prediction["class_id"]) for prediction in predictions),
        tuple(float(prediction["confidence"]) for prediction in predictions),
    )


def _samples(reply: Reply, model: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(_text(reply)):
        for sample in family.samples:
            if sample.labels == {"model": model}:
                yield sample.name, sample.value


def _text(reply: Reply) -> str:
    if reply.status != _OK:
        raise ValueError(f"HTTP {reply.status}")
    return reply.body.decode()
