"""The TorchServe handler: images in, named top-5 out, one forward for the whole batch.

A guest: runs in TorchServe's Python worker, imports nothing of pytest_servebench. Its
siblings `engine` and `imagenet` travel in the model archive as extra files; beside them
lie ``card.json``, ``labels.json`` and the model (``model.pt`` or ``model.onnx``). The
README in this folder says how an archive is built and what a request may hold.

TorchServe batches requests, not images: a request may carry several images, and all
images of all requests of one batch go through the model together. A bad image fails its
own request with 400 and a reason, never the batch.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from engine import Engine, Floats, load_engine
from imagenet import Card, preprocess, read_labels, top_predictions

TENSOR_CONTENT_TYPE = "application/x-float32"
"""Declares little-endian float32 [n, 3, crop, crop]. Bytes under any other type are one
encoded image: nothing is guessed, so a JPEG of whatever length is never read as numbers."""

BATCH_SIZE_METRIC = "batch_size_distribution"
"""Histogram of images per execution: ``_sum`` is images, ``_count`` is executions."""

HANDLER_TIME_METRIC = "image_classification_handler_seconds"
"""Histogram of the handler's time per batch: reading its requests, the model, the answers."""

log = logging.getLogger(__name__)


class ImageClassifier:
    """What TorchServe calls: `initialize` once per worker, `handle` once per batch.

    It must stay the only class of this file: TorchServe takes the one it finds.
    """

    def initialize(self, context: Any) -> None:
        """Load the model that lies in the archive; raises when the archive is not whole."""
        folder = Path(context.system_properties["model_dir"])
        settings = (getattr(context, "model_yaml_config", None) or {}).get("handler", {})
        threads = int(settings.get("threads", 2))
        self._engine: Engine = load_engine(
            folder / context.manifest["model"]["serializedFile"],
            device=str(settings.get("device") or _device_of(context)),
            threads=threads,
            precision=str(settings.get("precision", "fp32")),
        )
        self._readers = ThreadPoolExecutor(threads)
        self._card = Card.read(folder / "card.json")
        self._labels = read_labels(folder / "labels.json")
        self._observe_batch = _observer(context, BATCH_SIZE_METRIC, "count")
        self._observe_time_s = _observer(context, HANDLER_TIME_METRIC, "seconds")
        _mute_the_line_per_batch()
        log.info("model loaded: %s on %s", self._card.name, self._engine.name)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Return one JSON body per request, in order; sets each request's status itself."""
        begin_ns = time.monotonic_ns()
        types = [_content_types(context, index) for index in range(len(data))]
        # Pillow unpacks outside the interpreter's lock; a lone request is not worth the hop.
        apply = map if len(data) == 1 else self._readers.map
        inputs = list(apply(self._read, data, types))
        whole = [each for each in inputs if not isinstance(each, str)]
        batch = np.concatenate(whole) if whole else np.empty((0,), np.float32)
        scores = self._engine.run(batch) if whole else batch
        if whole:
            self._observe_batch(len(batch))
        bodies: list[bytes] = []
        begin = 0
        for index, each in enumerate(inputs):
            if isinstance(each, str):
                bodies.append(_refuse(context, index, each))
                continue
            own, begin = scores[begin : begin + len(each)], begin + len(each)
            if not np.isfinite(own).all():
                bodies.append(_refuse(context, index, "its scores are not finite: check the numbers sent"))
                continue
            context.set_response_content_type(index, "application/json")
            bodies.append(_answer(own, self._labels, len(batch), begin_ns))
        if whole:
            self._observe_time_s(round((time.monotonic_ns() - begin_ns) / 1e9, 6))
        return bodies

    def _read(self, request: Mapping[str, Any], types: Mapping[str, str]) -> Floats | str:
        """Return a request's images as float32 [n, 3, crop, crop], or why they cannot be read."""
        try:
            images = list(_images(request, types, self._card))
        except ValueError as error:
            return str(error)
        except MemoryError:
            return "an image that is too large to be unpacked"
        return np.concatenate(images) if images else "the request holds no image"


def _images(request: Mapping[str, Any], types: Mapping[str, str], card: Card) -> Iterator[Floats]:
    """Yield float32 [n, 3, crop, crop] for each piece of a request, in order.

    A plain body comes under the name ``body``; the parts of a form under their own names.
    """
    parts = {"body": request["body"]} if "body" in request else dict(request)
    if not parts or parts == {"body": b""}:
        raise ValueError("the request holds no image")
    position = 0
    for name, value in parts.items():
        for piece in _pieces(value):
            try:
                encoded = _from_base64(piece) if isinstance(piece, str) else bytes(piece)
                if types.get(name) == TENSOR_CONTENT_TYPE:
                    images = _read_tensor(encoded, card)
                else:
                    images = preprocess(encoded, card)[None]
            except ValueError as error:
                raise ValueError(f"image {position}: {error}") from error
            position += len(images)
            yield images


def _pieces(value: Any) -> Iterator[bytes | bytearray | str]:
    """Yield bytes, or base64 text, for each image in one part: itself, or what its JSON lists."""
    if isinstance(value, Mapping) and "instances" in value:
        value = value["instances"]
    for item in value if isinstance(value, list) else [value]:
        piece = item.get("b64") if isinstance(item, Mapping) else item
        if not isinstance(piece, (bytes, bytearray, str)):
            raise ValueError('expected an image, base64 text, {"b64": text} or a list of these')  # noqa: TRY004 (a bad request, not a bug)
        yield piece


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"text that is not base64: {error}") from error


def _read_tensor(raw: bytes, card: Card) -> Floats:
    per_image = 3 * card.crop * card.crop * 4
    if not raw or len(raw) % per_image:
        raise ValueError(
            f"{len(raw)} bytes are no float32 [n, 3, {card.crop}, {card.crop}]: "
            f"expected a multiple of {per_image}"
        )
    numbers = np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
    return numbers.reshape(-1, 3, card.crop, card.crop)


def _content_types(context: Any, index: int) -> dict[str, str]:
    """Return the content type of each part of a request, by the part's name."""
    # TorchServe keeps parts (as dictionaries) and request headers (as text) in one mapping.
    known = context.get_all_request_header(index) or {}
    return {
        name: str(entry.get("content-type", "")).partition(";")[0].strip().lower()
        for name, entry in known.items()
        if isinstance(entry, Mapping)
    }


def _answer(rows: Floats, labels: list[str], batch_size: int, begin_ns: int) -> bytes:
    """Return ``predictions`` for one image, ``results`` for several."""
    answers = [top_predictions(row, labels) for row in rows]
    body: dict[str, Any] = {"predictions": answers[0]}
    if len(answers) > 1:
        body = {"results": [{"image_index": i, "predictions": a} for i, a in enumerate(answers)]}
    body["batch_size"] = batch_size
    body["processing_time_ms"] = round((time.monotonic_ns() - begin_ns) / 1e6, 3)
    return json.dumps(body).encode()


def _refuse(context: Any, index: int, reason: str) -> bytes:
    """Fail one request of the batch, in the shape of TorchServe's own errors."""
    context.set_response_status(400, "Bad Request", index)
    context.set_response_content_type(index, "application/json")
    return json.dumps({"code": 400, "type": "BadRequestException", "message": reason}).encode()


def _device_of(context: Any) -> str:
    """Return the GPU TorchServe gave this worker, else the CPU."""
    gpu_id = context.system_properties.get("gpu_id")
    return "cpu" if gpu_id is None else f"cuda:{gpu_id}"


def _observer(context: Any, metric_name: str, unit: str) -> Callable[[float], None]:
    """Return what reports one execution's figure to TorchServe's metrics endpoint, as a histogram.

    It costs a line to the server's frontend. The endpoint shows it only where the server's
    metrics.yaml lists the metric.
    """
    from ts.metrics.metric_type_enum import MetricTypes

    metric = context.metrics.add_metric_to_cache(
        metric_name=metric_name,
        unit=unit,
        dimension_names=["model_name"],
        metric_type=MetricTypes.HISTOGRAM,
    )
    name = context.model_name

    def observe(value: float) -> None:
        metric.add_or_update(value, [name])

    return observe


def _mute_the_line_per_batch() -> None:
    """Keep TorchServe's "Backend received inference" line out of the worker's log, which costs throughput."""
    logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("Backend received inference"))
