"""The TorchServe handler against a context and an engine of ours."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pytest_servebench.shipped import shipped
from pytest_servebench.stacks import torchserve_asked, torchserve_launch

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

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
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
        self.system_properties = {"model_dir": str(folder), "gpu_id": gpu_id}
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


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
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


@pytest.fixture
def served(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Return a handler on a toy model."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "labels.json").write_text(json.dumps([f"name {i}" for i in range(CLASSES)]), encoding="utf-8")
    engine = CountingEngine()
    monkeypatch.setattr(module, "load_engine", lambda *_, **__: engine)
    return Served(module, FakeContext(tmp_path), engine)


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


def test_all_images_of_all_requests_go_through_the_model_in_one_forward(served: Served) -> None:
    """A batch of three requests with four images is one execution, split back per request in order."""
    first, several, last = served.ask(tensor(0.1), tensor(0.2, -0.3), {"body": (encoded(255), "image/jpeg")})
    assert served.engine.batches == [4]
    assert best(first) == 21
    assert [row["image_index"] for row in several["results"]] == [0, 1]
    assert [row["predictions"][0]["class_id"] for row in several["results"]] == [22, 17]
    assert best(last) == 30
    assert {first["batch_size"], several["batch_size"], last["batch_size"]} == {4}


def test_an_answer_has_five_named_classes_with_probabilities(served: Served) -> None:
    """The reference's field names are kept, best first, and confidence is a softmax probability."""
    (body,) = served.ask(tensor(0.0))
    assert len(body["predictions"]) == 5
    top = body["predictions"][0]
    assert top == {"class_id": 20, "class_name": "name 20", "confidence": top["confidence"]}
    assert top["confidence"] == pytest.approx(np.exp(10) / (np.exp(10) + CLASSES - 1), rel=1e-5)
    assert body["processing_time_ms"] > 0
    assert served.context.content_types == {0: "application/json"}
    assert served.context.statuses == {}


def test_a_bad_image_fails_its_own_request_only(served: Served) -> None:
    """One broken request is answered 400 with a reason while its batch is served."""
    good, bad, other = served.ask(
        tensor(0.1), {"body": (bytearray(b"no image"), "image/jpeg")}, {"body": (encoded(0), "image/jpeg")}
    )
    assert served.context.statuses == {1: (400, "Bad Request")}
    assert bad["code"] == 400
    assert bad["message"].startswith("image 0: not a readable image")
    assert served.engine.batches == [2]
    assert (best(good), best(other)) == (21, 10)


def test_a_batch_of_bad_requests_runs_no_model(served: Served) -> None:
    """Nothing to infer is no execution, and is not counted as one."""
    bodies = served.ask({"body": (b"", "image/jpeg")}, {"body": ({"b64": 3}, "application/json")}, {})
    assert [body["code"] for body in bodies] == [400, 400, 400]
    assert served.engine.batches == []
    assert served.context.metrics.observed == []


def test_numbers_that_are_not_finite_fail_their_own_request_only(served: Served) -> None:
    """NaN in one request is refused there and reaches nobody else's answer."""
    bad, good = served.ask(tensor(float("nan")), tensor(0.3))
    assert served.context.statuses == {0: (400, "Bad Request")}
    assert "not finite" in bad["message"]
    assert best(good) == 23


@pytest.mark.parametrize(
    "value",
    [
        base64.b64encode(encoded(255)).decode(),
        "data:image/jpeg;base64," + base64.b64encode(encoded(255)).decode(),
        {"b64": base64.b64encode(encoded(255)).decode()},
        [base64.b64encode(encoded(255)).decode()],
        {"instances": [{"b64": base64.b64encode(encoded(255)).decode()}]},
        bytearray(encoded(255, "PNG")),
    ],
    ids=["text", "data-url", "b64", "list", "instances", "png-bytes"],
)
def test_an_image_may_come_in_each_documented_form(served: Served, value: Any) -> None:
    """Bytes, base64 text and each JSON form name the same image."""
    (body,) = served.ask({"body": (value, "whatever/type")})
    assert best(body) == 30


def test_several_images_are_answered_in_the_order_sent(served: Served) -> None:
    """A form's files and a JSON list keep their order in results."""
    levels = [255, 0, 128]
    form = {f"image_{i}": (bytearray(encoded(level)), "image/jpeg") for i, level in enumerate(levels)}
    texts = [{"b64": base64.b64encode(encoded(level)).decode()} for level in levels]
    for body in served.ask(form, {"body": (texts, "application/json")}):
        assert [row["predictions"][0]["class_id"] for row in body["results"]] == [30, 10, 20]


def test_an_image_as_long_as_a_tensor_is_still_read_as_an_image(served: Served) -> None:
    """Only the content type declares numbers, so a JPEG of just that length stays a JPEG."""
    padded = encoded(255)
    per_image = 3 * CROP * CROP * 4
    padded += b"\0" * (-len(padded) % per_image)
    for kind in ("application/octet-stream", "image/jpeg", ""):
        (body,) = served.ask({"body": (bytearray(padded), kind)})
        assert best(body) == 30


def test_numbers_of_a_wrong_length_are_refused_with_the_expected_one(served: Served) -> None:
    """A truncated tensor is a 400 that says what was seen and expected."""
    value, kind = tensor(0.1)["body"]
    (body,) = served.ask({"body": (value[:-4], kind)})
    assert body["message"] == "image 0: 764 bytes are no float32 [n, 3, 8, 8]: expected a multiple of 768"


def test_text_that_is_not_base64_is_refused_with_its_position(served: Served) -> None:
    """The second entry of a list is named as image 1."""
    good = base64.b64encode(encoded(255)).decode()
    (body,) = served.ask({"body": ([good, "%%%"], "application/json")})
    assert body["message"].startswith("image 1: text that is not base64")


def test_each_execution_is_observed_with_its_number_of_images(served: Served) -> None:
    """The achieved batch size can be computed from the server's metrics."""
    served.ask(tensor(0.1), tensor(0.2, 0.3))
    served.ask(tensor(0.1))
    assert served.observed(torchserve_launch.BATCH_SIZE_METRIC) == [3, 1]


def test_the_handlers_time_is_observed_once_per_execution(
    served: Served, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in seconds, holds the engine's time, and a batch that did not reach the model has none."""
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic_ns=lambda: 25_000_000 * len(served.engine.batches))
    )
    served.ask(tensor(0.1), tensor(0.2, 0.3))
    served.ask({"body": (bytearray(b"no image"), "image/jpeg")})
    assert served.observed(torchserve_launch.HANDLER_TIME_METRIC) == [0.025]


def test_settings_reach_the_engine(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings come from the archive's configuration, and the device else from TorchServe."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "labels.json").write_text("[]", encoding="utf-8")
    seen: list[dict[str, Any]] = []

    def load_engine(_: Path, **keywords: Any) -> CountingEngine:
        seen.append(keywords)
        return CountingEngine()

    monkeypatch.setattr(module, "load_engine", load_engine)
    module.ImageClassifier().initialize(FakeContext(tmp_path, {"threads": 3, "device": "cpu"}, gpu_id=1))
    module.ImageClassifier().initialize(FakeContext(tmp_path, {"precision": "fp16"}, gpu_id=1))
    module.ImageClassifier().initialize(FakeContext(tmp_path))
    assert seen == [
        {"device": "cpu", "threads": 3, "precision": "fp32"},
        {"device": "cuda:1", "threads": 2, "precision": "fp16"},
        {"device": "cpu", "threads": 2, "precision": "fp32"},
    ]


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"gpu_id": 1}, {"device_id": 1}),
        ({"gpu_id": 0}, {"device_id": 0}),
        ({"gpu_id": 1, "settings": {"device": "cuda"}}, {"device_id": 0}),
        ({"settings": {"device": "cuda:3"}}, {"device_id": 3}),
        ({}, None),
    ],
)
def test_onnxruntime_is_given_the_gpu_that_was_asked_for(
    module: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    options: dict[str, int] | None,
) -> None:
    """Its provider takes GPU 0 unless told, so that every worker would share that one."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "labels.json").write_text("[]", encoding="utf-8")
    seen: list[Any] = []

    def session(_path: str, _options: Any, *, providers: list[Any]) -> Any:
        seen.extend(providers)
        names = [each if isinstance(each, str) else each[0] for each in providers]
        return SimpleNamespace(get_providers=lambda: names, get_inputs=lambda: [SimpleNamespace(name="x")])

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    context = FakeContext(tmp_path, **asked)
    context.manifest["model"]["serializedFile"] = "model.onnx"
    module.ImageClassifier().initialize(context)
    on_gpu = [("CUDAExecutionProvider", options)] if options else []
    assert seen == [*on_gpu, "CPUExecutionProvider"]


def test_the_handler_and_the_stack_agree_on_names(module: ModuleType) -> None:
    """The guest imports nothing of ours, so the words both use are held equal here."""
    assert module.TENSOR_CONTENT_TYPE == torchserve_asked.TENSOR_CONTENT_TYPE
    assert module.BATCH_SIZE_METRIC == torchserve_launch.BATCH_SIZE_METRIC
    assert module.HANDLER_TIME_METRIC == torchserve_launch.HANDLER_TIME_METRIC


def test_torchserve_finds_exactly_one_class(module: ModuleType) -> None:
    """TorchServe refuses a handler file that defines more than one class."""
    own = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    ]
    assert [each.__name__ for each in own] == ["ImageClassifier"]
