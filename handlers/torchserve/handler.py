"""The TorchServe handler: images in, named top-5 out, one forward for the whole batch.

A guest: runs in TorchServe's Python worker, imports nothing of pytest_servebench. Its siblings, `engine`
with what it loads, `image_decoder`, `imagenet` and `torchserve_request`, travel in the model archive as extra
files; beside them lie ``card.json``, ``labels.json`` and the model (``model.pt`` or ``model.onnx``). The
README in this folder says how an archive is built and what a request may hold.

TorchServe batches requests, not images: a request may carry several images, and all
images of all requests of one batch go through the model together. A bad image fails its
own request with 400 and a reason, never the batch.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from engine import Engine, Floats, Numbers, load_engine
from image_decoder import Read, decoder_for, with_decoder
from imagenet import Card, read_labels, top_predictions
from torchserve_request import Unpack, images_of

BATCH_SIZE_METRIC = "batch_size_distribution"
"""Histogram of images per execution: ``_sum`` is images, ``_count`` is executions."""

HANDLER_TIME_METRIC = "image_classification_handler_seconds"
"""Histogram of the handler's time per batch: reading its requests, the model, the answers."""

VISIBLE, MEANT, ALL_GPUS = "CUDA_VISIBLE_DEVICES", "SERVEBENCH_VISIBLE_DEVICES", "all"
"""Which GPUs the frontend counts, and which the server's caller meant where the two differ."""

DECODER = "SERVEBENCH_DECODER"
"""What decodes images where the archive's settings do not say it."""

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
        _see_the_gpus_meant()
        device = _device_of(context, str(settings.get("device") or ""))
        self._card = Card.read(folder / "card.json")
        compiled = settings.get("format") == "tensorrt"
        most = int(context.system_properties.get("batch_size") or 1)
        self._at_most = most if compiled else None
        decoder = settings.get("decoder") or os.environ.get(DECODER) or "pillow"
        self._decoder = decoder_for(decoder, device)
        self._engine: Engine = load_engine(
            folder / context.manifest["model"]["serializedFile"],
            device=device,
            threads=threads,
            precision=str(settings.get("precision", "fp32")),
            format="tensorrt" if compiled else "",
            input_dtype=str(settings.get("input_dtype", "")),
            image_shape=(3, self._card.crop, self._card.crop),
            max_batch_size=most,
            cuda_graphs=str(settings.get("cuda_graphs", "off")),
        )
        self._readers = ThreadPoolExecutor(threads)
        self._labels = read_labels(folder / "labels.json")
        self._observe_batch = _observer(context, BATCH_SIZE_METRIC, "count")
        self._observe_time_s = _observer(context, HANDLER_TIME_METRIC, "seconds")
        _mute_the_line_per_batch()
        log.info("model loaded: %s on %s", self._card.name, self._engine.name)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Return one JSON body per request, in order; sets each request's status itself."""
        if (context.get_all_request_header(0) or {}).get("describe") == "True":
            return [json.dumps(self.describe_handle()).encode()]
        begin_ns = time.monotonic_ns()
        types = [_content_types(context, index) for index in range(len(data))]
        inputs = self._inputs(data, types)
        whole = [each for each in inputs if not isinstance(each, str)]
        batch = np.concatenate(whole) if whole else np.empty((0,), np.float32)
        scores = self._run(batch) if whole else batch
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

    def describe_handle(self) -> dict[str, Any]:
        """Return what runs, for ``GET /models/NAME?customized=true``."""
        return with_decoder(self._engine.facts(), self._decoder)

    def _run(self, batch: Numbers) -> Floats:
        """Run a batch whole, or in parts where the engine was compiled for no larger ones."""
        step = self._at_most or len(batch)
        parts = [batch[begin : begin + step] for begin in range(0, len(batch), step)]
        scores = [self._engine.run(part) for part in parts]
        for part in parts:
            self._observe_batch(len(part))
        return scores[0] if len(scores) == 1 else np.concatenate(scores)

    def _inputs(
        self, data: Sequence[Mapping[str, Any]], types: Sequence[Mapping[str, str]]
    ) -> list[Numbers | str]:
        """Return the images of each request, or why there are none."""
        if not self._decoder.takes_batches:
            # Pillow unpacks outside the interpreter's lock; a lone request is not worth the hop.
            apply = map if len(data) == 1 else self._readers.map
            return list(apply(self._read, data, types))
        encoded = [list(self._encoded(*request)) for request in zip(data, types, strict=True)]
        everything = [image for own in encoded for image in own]
        read = iter(self._decoder.read(everything, self._card, self._engine.input_dtype))
        each = [iter(list(islice(read, len(own)))) for own in encoded]
        return [
            self._read(request, kinds, lambda _, own=own: next(own))  # type: ignore[misc]  # bound now
            for request, kinds, own in zip(data, types, each, strict=True)
        ]

    def _encoded(self, request: Mapping[str, Any], types: Mapping[str, str]) -> list[bytes]:
        """Return a request's encoded images, up to a piece that is none."""
        found: list[bytes] = []

        def keep(encoded: bytes) -> Read:
            found.append(encoded)
            return np.empty((0, 0, 0))

        with suppress(ValueError):
            for _ in images_of(request, types, self._card, self._engine.input_dtype, keep):
                pass
        return found

    def _by_itself(self, encoded: bytes) -> Read:
        return self._decoder.read([encoded], self._card, self._engine.input_dtype)[0]

    def _read(
        self, request: Mapping[str, Any], types: Mapping[str, str], unpack: Unpack | None = None
    ) -> Numbers | str:
        """Return a request's images as [n, 3, crop, crop] of the model's dtype, or why there are none."""
        try:
            dtype = self._engine.input_dtype
            images = list(images_of(request, types, self._card, dtype, unpack or self._by_itself))
        except ValueError as error:
            return str(error)
        except MemoryError:
            return "an image that is too large to be unpacked"
        return np.concatenate(images) if images else "the request holds no image"


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


def _device_of(context: Any, asked: str) -> str:
    """Return ``asked``, of several GPUs this worker's; else the GPU TorchServe gave it, else the CPU.

    TorchServe numbers its workers' GPUs in turns from 0: its i-th is the i-th of ``cuda:1,2``.
    """
    gpu_id = context.system_properties.get("gpu_id")
    kind, _, indexes = asked.partition(":")
    if "," not in indexes:
        return asked or ("cpu" if gpu_id is None else f"cuda:{gpu_id}")
    if gpu_id is None:
        raise RuntimeError(f"asked for {asked}, but TorchServe gave this worker no GPU: see number_of_gpu")
    each = indexes.split(",")
    return f"{kind}:{each[int(gpu_id) % len(each)]}"


def _see_the_gpus_meant() -> None:
    """Have CUDA see what the server's caller meant: the frontend may have been told numbers in its place.

    It cannot read UUIDs. CUDA reads the variable when it is first used, which is later.
    """
    meant = os.environ.get(MEANT)
    if meant == ALL_GPUS:
        os.environ.pop(VISIBLE, None)
    elif meant is not None:
        os.environ[VISIBLE] = meant


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
