"""TorchServe as it is asked, wherever it runs: requests, replies, counters, models loaded and unloaded.

What it cannot do as other stacks do, so that figures are read rightly:

- It batches requests, not images. A batch of ``max_batch_size`` requests of k images
  each is one execution of up to k times ``max_batch_size`` images.
- It holds requests for whole milliseconds. ``max_queue_delay_ms`` is rounded up, to at
  least 1; with batch size 1 nothing is held.
- Its gRPC interface is not offered here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import quote

import httpx
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
from pytest_servebench.stacks.tensors import tensor_of
from pytest_servebench.stacks.torchserve_launch import (
    BATCH_SIZE_METRIC,
    HANDLER_TIME_METRIC,
    RESPONSE_TIMEOUT_S,
    STARTUP_TIMEOUT_S,
    archive_name,
    workers_of,
)

TENSOR_CONTENT_TYPE = "application/x-float32"
PIXELS_CONTENT_TYPE = "application/x-tensor-uint8"
"""What `handlers/torchserve/handler.py` reads as numbers, and as pixels."""

_NUMBERS = {Payload.TENSOR: TENSOR_CONTENT_TYPE, Payload.UINT8: PIXELS_CONTENT_TYPE}

_FORM = "multipart/form-data; boundary=servebench-8c1f2ab0e7c34e0b9d5f6a1c"
"""The boundary is not drawn anew, so that equal images make an equal request."""

ENGINES = {
    ModelFormat.ONNX: "onnxruntime",
    ModelFormat.PYTORCH: "torch",
    ModelFormat.TENSORRT: "torch_tensorrt",
}
"""The package that runs a format inside the handler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTorchserve:
    """What is the same of the stack ``torchserve`` as a local process and in a container."""

    name: str = "torchserve"
    formats: frozenset[ModelFormat] = frozenset(ModelFormat)
    payloads: frozenset[Payload] = frozenset({Payload.TENSOR, Payload.JPEG, Payload.UINT8})
    protocols: frozenset[WireProtocol] = frozenset({WireProtocol.HTTP})
    decoders: frozenset[Decoder] = frozenset({Decoder.PILLOW, Decoder.NVJPEG})

    @property
    def compiles_torchscript(self) -> bool:
        """Whether ``tensorrt`` is made of a TorchScript file: Torch-TensorRT reads no other."""
        return True

    def backend(self, deployment: Deployment) -> str:
        """Return the engine in the handler and how TorchServe holds requests to fill a batch."""
        engine = f"{ENGINES[deployment.format]} {str(deployment.device).upper()}"
        held = _batch_delay_ms(deployment)
        return f"torchserve handler: {engine}" + (f", holds up to {held} ms" if held else "")

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the request that registers the archive under this batch setting.

        TorchServe answers it once its workers have loaded the model, so it may take seconds.
        """
        query: dict[str, str | int] = {
            "model_name": deployment.served_name,
            "url": archive_name(deployment),
            "batch_size": deployment.max_batch_size,
            "max_batch_delay": _batch_delay_ms(deployment),
            "initial_workers": workers_of(deployment),
            "synchronous": "true",
            "response_timeout": RESPONSE_TIMEOUT_S,
        }
        if deployment.format is ModelFormat.TENSORRT:
            # Left alone it ends a worker after 120 s, in the middle of compiling.
            query["startup_timeout"] = STARTUP_TIMEOUT_S
        return (_management("POST", f"/models?{httpx.QueryParams(query)}"),)

    def unload_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the request that unregisters it; its worker ends, the archive stays."""
        return (_management("DELETE", f"/models/{quote(deployment.served_name)}"),)

    def served_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the request that TorchServe hands to the model's handler, which describes itself."""
        return (_management("GET", f"/models/{quote(deployment.served_name)}?customized=true"),)

    def served(self, deployment: Deployment, replies: Sequence[Reply], log: str) -> Served:  # noqa: ARG002 (the reply is of one model, and whole)
        """Return what the handler's `describe_handle` says; of several workers one is asked."""
        versions = json_of(replies[0].body)
        first = versions[0] if isinstance(versions, list) and versions else None
        known = first if isinstance(first, dict) else {}
        served = served_of(known.get("customizedMetadata"), "customizedMetadata of the handler")
        workers = known.get("workers")
        count = len(workers) if isinstance(workers, list) and workers else workers_of(deployment)
        return served if served.absent else replace(served, one_of=count)

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return a POST to /predictions: numbers, one encoded image, or a form of several."""
        path = f"/predictions/{quote(case.deployment.served_name)}"
        request = _client_request(case.payload, path, images)
        own = {"host", "content-length"}
        return WireRequest(
            protocol=WireProtocol.HTTP,
            path=path,
            body=request.read(),
            headers=tuple((k, v) for k, v in request.headers.items() if k.lower() not in own),
            image_indexes=tuple(image.index for image in images),
        )

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return the top 5 of each image; raises `AnswerError`."""
        if reply.status != HTTPStatus.OK:
            raise _unreadable(case, reply, f"status {reply.status}")
        try:
            body = json.loads(reply.body)
            rows = (
                [row["predictions"] for row in body["results"]]
                if "results" in body
                else [body["predictions"]]
            )
            answers = tuple(_answer(row) for row in rows)
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(case, reply, f"{type(error).__name__}: {error}") from error
        if len(answers) != case.items_per_request:
            raise _unreadable(case, reply, f"{len(answers)} answers for {case.items_per_request} images")
        return answers

    def counters_request(self, deployment: Deployment) -> WireRequest:  # noqa: ARG002 (one page holds all models)
        """Return the request that reads its Prometheus metrics."""
        return WireRequest(
            protocol=WireProtocol.HTTP, method="GET", path="/metrics", body=b"", port_role="metrics"
        )

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return one model's counters; they go on counting when it is registered anew.

        TorchServe's inference time counts from arrival and so includes the queue: compute
        time is the difference, with the way to the worker and back and the preprocessing.
        """
        try:
            text = reply.body.decode()
            totals = _totals(text, deployment.served_name)
            by_batch = by_bound(text, BATCH_SIZE_METRIC, deployment.served_name)
        except ValueError as error:
            raise AnswerError(
                "the metrics of torchserve cannot be read",
                where="/metrics",
                seen=str(error),
                next_step="see the server's log, and its version",
            ) from error
        queue_us = totals.get("ts_queue_latency_microseconds")
        inference_us = totals.get("ts_inference_latency_microseconds")
        compute_us = None if queue_us is None or inference_us is None else inference_us - queue_us
        return ServerCounters(
            images=totals.get(f"{BATCH_SIZE_METRIC}_sum"),
            executions=totals.get(f"{BATCH_SIZE_METRIC}_count"),
            queue_s=None if queue_us is None else queue_us / 1e6,
            compute_s=None if compute_us is None else compute_us / 1e6,
            requests=totals.get("ts_inference_requests"),
            handler_s=totals.get(f"{HANDLER_TIME_METRIC}_sum"),
            handler_calls=totals.get(f"{HANDLER_TIME_METRIC}_count"),
            executions_by_batch=by_batch,
        )


def _batch_delay_ms(deployment: Deployment) -> int:
    """Return TorchServe's whole milliseconds; 0 for batch size 1, which never waits.

    Never 0 for a larger batch: TorchServe would stop filling it after the second request.
    """
    return 0 if deployment.max_batch_size == 1 else max(1, math.ceil(deployment.max_queue_delay_ms))


def _management(method: str, path: str) -> WireRequest:
    return WireRequest(protocol=WireProtocol.HTTP, method=method, path=path, body=b"", port_role="management")


def _client_request(payload: Payload, path: str, images: Sequence[Image]) -> httpx.Request:
    url = f"http://torchserve{path}"
    if payload in _NUMBERS:
        kind = {"content-type": _NUMBERS[payload]}
        return httpx.Request("POST", url, content=tensor_of(payload, images).tobytes(), headers=kind)
    if len(images) == 1:
        return httpx.Request("POST", url, content=images[0].jpeg, headers={"content-type": "image/jpeg"})
    # TorchServe keeps one part per field name, so each image needs a name of its own.
    parts = {f"image_{i}": (f"{i}.jpg", image.jpeg, "image/jpeg") for i, image in enumerate(images)}
    return httpx.Request("POST", url, files=parts, headers={"content-type": _FORM})


def _answer(predictions: Sequence[Mapping[str, float]]) -> Answer:
    if not predictions:
        raise ValueError("no predictions")
    return Answer(
        class_ids=tuple(int(each["class_id"]) for each in predictions),
        confidences=tuple(float(each["confidence"]) for each in predictions),
    )


def _unreadable(case: Case, reply: Reply, seen: str) -> AnswerError:
    text = reply.body[:300].decode("utf-8", "replace")
    return AnswerError(
        "torchserve's reply is no answer",
        where=f"{case.id}, POST /predictions/{case.deployment.served_name}",
        seen=f"{seen}; the body begins {text!r}",
        next_step="see the server's log; a refused image names its reason in the body",
    )


def _totals(text: str, model: str) -> dict[str, float]:
    """Return a model's samples by name; a metric that the server keeps, but not yet for it, is 0."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        names = (
            [family.name] if family.type != "histogram" else [f"{family.name}_sum", f"{family.name}_count"]
        )
        totals.update(dict.fromkeys(names, 0.0))
        for sample in family.samples:
            own = model in (sample.labels.get("model_name"), sample.labels.get("ModelName"))
            name = sample.name.removesuffix("_total") if family.type == "counter" else sample.name
            if own and name in totals:
                totals[name] += sample.value
    return totals
