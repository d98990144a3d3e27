"""The TorchServe handler against a context and an engine of ours."""

from __future__ import annotations

import base64
import io
import json
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torchserve_request
from PIL import Image

from pytest_servebench.stacks import torchserve_asked, torchserve_launch
from tests.unit.handlers.torchserve_guest import CLASSES, CROP, Served, best, encoded, tensor


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


def test_what_was_compiled_for_no_larger_batch_is_run_in_parts(served: Served, module: ModuleType) -> None:
    """TorchServe batches requests: with several images each they are more than TensorRT was built for."""
    served.context.model_yaml_config = {"handler": {"format": "tensorrt", "device": "cuda:0"}}
    served.classifier.initialize(served.context)
    (one,) = served.ask(tensor(*([0.1, 0.2, 0.3] * 2)))
    assert served.engine.batches == [4, 2]
    assert served.observed(module.BATCH_SIZE_METRIC) == [4, 2]
    ids = [row["predictions"][0]["class_id"] for row in one["results"]]
    assert ids == [21, 22, 23, 21, 22, 23]


def test_a_model_of_pixels_takes_a_quarter_of_the_bytes(served: Served, module: ModuleType) -> None:
    """Pixels come under a content type of their own, of images they are what preprocessing normalises."""
    served.engine.input_dtype = "uint8"
    pixels = np.full((2, 3, CROP, CROP), 1, np.uint8)
    (one,) = served.ask({"body": (bytearray(pixels.tobytes()), torchserve_request.UINT8_CONTENT_TYPE)})
    assert [row["predictions"][0]["class_id"] for row in one["results"]] == [30, 30]
    file = io.BytesIO()
    Image.new("RGB", (CROP, CROP), (1, 1, 1)).save(file, "PNG")
    (one,) = served.ask({"body": (bytearray(file.getvalue()), "image/png")})
    assert one["predictions"][0]["class_id"] == 30


@pytest.mark.parametrize(("takes", "sends"), [("uint8", "float32"), ("float32", "uint8")])
def test_numbers_of_another_type_are_refused(
    served: Served, module: ModuleType, takes: str, sends: str
) -> None:
    """Neither is taken for the other: a quarter of the length could be four times the images."""
    served.engine.input_dtype = takes
    kinds = {
        "float32": torchserve_request.TENSOR_CONTENT_TYPE,
        "uint8": torchserve_request.UINT8_CONTENT_TYPE,
    }
    (one,) = served.ask({"body": (bytearray(4 * 3 * CROP * CROP), kinds[sends])})
    assert one["message"] == f"image 0: numbers of type {sends}, and this model takes {takes}"


def test_the_handler_says_what_it_runs(served: Served) -> None:
    """TorchServe's ``GET /models/NAME?customized=true`` comes as a request with the header ``describe``."""
    served.context.headers = [{"describe": "True"}]
    (body,) = served.classifier.handle([{"body": b""}], served.context)
    assert json.loads(body) == {"engine": "toy engine", "options": {"decoder": "pillow"}}
    assert served.engine.batches == []


def test_the_handler_and_the_stack_agree_on_names(module: ModuleType) -> None:
    """The guest imports nothing of ours, so the words both use are held equal here."""
    assert torchserve_request.TENSOR_CONTENT_TYPE == torchserve_asked.TENSOR_CONTENT_TYPE
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
