"""The TorchServe handler as its server has it: its module, a context, an engine that counts (a stand-in)."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.stacks import torchserve_asked

CROP = 8

CLASSES = 40

CARD = {
    "name": "toy",
    "resize": CROP,
    "crop": CROP,
    "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


class CountingEngine:
    """Sees class ``10 * mean + 20`` in an image, and keeps the size of each batch it ran."""

    name = "toy engine"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.input_dtype = "float32"

    def facts(self) -> dict[str, Any]:
        return {"engine": self.name}

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        assert batch.dtype == self.input_dtype
        self.batches.append(len(batch))
        logits = np.zeros((len(batch), CLASSES), np.float32)
        for row, image in zip(logits, batch, strict=True):
            mean = image.mean()
            row[round(float(10 * mean)) + 20 if np.isfinite(mean) else 0] = (
                10 if np.isfinite(mean) else np.nan
            )
        return logits


class RecordingMetrics:
    """TorchServe's metrics cache, as far as the handler uses it."""

    def __init__(self) -> None:
        self.observed: list[tuple[str, float, list[str]]] = []

    def add_metric_to_cache(self, metric_name: str, **_: Any) -> Any:
        def observe(value: float, dimensions: list[str]) -> None:
            self.observed.append((metric_name, value, dimensions))

        return SimpleNamespace(add_or_update=observe)


class FakeContext:
    """TorchServe's context: one set of headers and one status per request of a batch."""

    def __init__(
        self, folder: Path, settings: dict[str, Any] | None = None, gpu_id: int | None = None
    ) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": gpu_id, "batch_size": 4}
        self.manifest = {"model": {"serializedFile": "model.pt"}}
        self.model_yaml_config = {"handler": settings} if settings else {}
        self.model_name = "toy_pytorch"
        self.metrics = RecordingMetrics()
        self.headers: list[Mapping[str, Any]] = []
        self.statuses: dict[int, tuple[int, str]] = {}
        self.content_types: dict[int, str] = {}

    def get_all_request_header(self, index: int) -> Mapping[str, Any]:
        return self.headers[index]

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.statuses[idx] = (code, phrase)

    def set_response_content_type(self, index: int, value: str) -> None:
        self.content_types[index] = value


@contextmanager
def handler_module() -> Iterator[ModuleType]:
    """Import the handler's module with its siblings in reach, as in an unpacked archive."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(shipped("handlers")))
        enum = ModuleType("ts.metrics.metric_type_enum")
        enum.MetricTypes = SimpleNamespace(HISTOGRAM="histogram")  # type: ignore[attr-defined]
        for name in ("ts", "ts.metrics"):
            patch.setitem(sys.modules, name, ModuleType(name))
        patch.setitem(sys.modules, enum.__name__, enum)
        path = shipped("handlers") / "torchserve" / "handler.py"
        spec = importlib.util.spec_from_file_location("torchserve_handler", path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        yield loaded


class Served:
    """An initialised handler, asked with parts as TorchServe hands them over."""

    def __init__(self, module: ModuleType, context: FakeContext, engine: CountingEngine) -> None:
        self.context, self.engine = context, engine
        self.classifier = module.ImageClassifier()
        self.classifier.initialize(context)

    def ask(self, *requests: dict[str, tuple[Any, str]]) -> list[dict[str, Any]]:
        """Return the JSON bodies; each request maps a part's name to its value and content type."""
        self.context.headers = [
            {name: {"content-type": kind} for name, (_, kind) in request.items()} | {"Host": "x"}
            for request in requests
        ]
        data = [{name: value for name, (value, _) in request.items()} for request in requests]
        return [json.loads(body) for body in self.classifier.handle(data, self.context)]

    def observed(self, metric_name: str) -> list[float]:
        """Return what was observed of a metric, which must be this model's."""
        own = [each for each in self.context.metrics.observed if each[0] == metric_name]
        assert all(dimensions == [self.context.model_name] for _, _, dimensions in own)
        return [value for _, value, _ in own]


def tensor(*means: float) -> dict[str, tuple[Any, str]]:
    """Return a request of raw numbers; TorchServe hands a body over as a bytearray."""
    numbers = np.concatenate([np.full((1, 3, CROP, CROP), mean, "<f4") for mean in means])
    return {"body": (bytearray(numbers.tobytes()), torchserve_asked.TENSOR_CONTENT_TYPE)}


def encoded(level: int, kind: str = "JPEG") -> bytes:
    """Return a plain image whose normalised mean is ``level / 127.5 - 1``."""
    buffer = io.BytesIO()
    Image.new("RGB", (20, 30), (level, level, level)).save(buffer, kind)
    return buffer.getvalue()


def best(body: dict[str, Any]) -> int:
    """Return the first class of a single answer."""
    return int(body["predictions"][0]["class_id"])
