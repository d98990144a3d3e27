"""The guests inside Triton, run with a stand-in for the module that Triton gives them."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PillowImage

from tests.recorded_nvjpeg import RecordedGpu
from tests.tiny_model import CARD

HANDLERS = Path(__file__).parents[3] / "handlers"
Floats = npt.NDArray[np.float32]


@dataclass
class Tensor:
    name: str
    array: npt.NDArray[Any]

    def as_numpy(self) -> npt.NDArray[Any]:
        return self.array


@dataclass
class TritonError:
    text: str


@dataclass
class InferenceResponse:
    tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None


@dataclass
class Request:
    tensors: dict[str, npt.NDArray[Any]]


@dataclass
class Engine:
    """Answers each row with its first value, and counts its runs."""

    name: str = "fake"
    said: dict[str, str] = field(default_factory=lambda: {"precision": "fp32"})
    batches: list[int] = field(default_factory=list)

    def facts(self) -> dict[str, str]:
        return self.said

    def run(self, batch: Floats) -> Floats:
        self.batches.append(len(batch))
        if np.isnan(batch).any():
            raise RuntimeError("the engine stumbled")
        return batch.reshape(len(batch), -1)[:, :2].copy()


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the module that Triton gives its models; returns what they log."""
    lines: list[str] = []
    module = ModuleType("triton_python_backend_utils")
    module.__dict__.update(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=InferenceResponse,
        Logger=SimpleNamespace(log_info=lines.append),
        get_input_tensor_by_name=lambda request, name: Tensor(name, request.tensors[name]),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    monkeypatch.syspath_prepend(str(HANDLERS))
    return lines


def _guest(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"guest_{name}", HANDLERS / "triton_backend" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments(folder: Path, parameters: dict[str, str], kind: str = "CPU") -> dict[str, str]:
    texts = {key: {"string_value": value} for key, value in parameters.items()}
    return {
        "model_config": json.dumps({"parameters": texts}),
        "model_repository": str(folder),
        "model_version": "1",
        "model_name": "tiny_onnx",
        "model_instance_kind": kind,
        "model_instance_device_id": "1" if kind == "GPU" else "0",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay out a model's folder as the launcher does: links into other places."""
    version = tmp_path / "tiny_onnx" / "1"
    version.mkdir(parents=True)
    (tmp_path / "artifact.onnx").touch()
    (version / "model.onnx").symlink_to(tmp_path / "artifact.onnx")
    (version / "card.json").write_text(json.dumps(CARD))
    return version.parent


@pytest.fixture
def engine() -> Engine:
    """Give the engine that the model runs."""
    return Engine()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, folder: Path, engine: Engine) -> Any:
    """Initialise the model with that engine."""
    guest = _guest("model")
    monkeypatch.setattr(guest, "load_engine", lambda *_, **__: engine)
    model = guest.TritonPythonModel()
    model.initialize(_arguments(folder, {}))
    return model


def _batch(*rows: float) -> Request:
    return Request({"input": np.array(rows, np.float32).reshape(-1, 1, 1, 1).repeat(3, axis=1)})


def test_all_requests_run_as_one_batch(model: Any, engine: Engine) -> None:
    """What Triton batched is computed in one run, and each request gets its own rows back."""
    responses = model.execute([_batch(1), _batch(2, 3), _batch(4)])
    assert engine.batches == [4]
    rows = [response.tensors[0].array[:, 0].tolist() for response in responses]
    assert rows == [[1], [2, 3], [4]]
    assert {response.tensors[0].name for response in responses} == {"output"}


def test_an_unreadable_request_fails_alone(model: Any, engine: Engine) -> None:
    """A request without the input is an error reply; its neighbours are answered, in their places."""
    first, second, third = model.execute([_batch(1), Request({}), _batch(3)])
    assert second.error is not None
    assert "input" in second.error.text
    assert [first.tensors[0].array[0, 0], third.tensors[0].array[0, 0]] == [1, 3]
    assert engine.batches == [2]


def test_requests_that_are_all_unreadable_do_not_run_the_engine(model: Any, engine: Engine) -> None:
    """There is nothing to compute, and the server lives."""
    (response,) = model.execute([Request({})])
    assert response.error is not None
    assert engine.batches == []


def test_a_failed_run_is_an_error_for_each_of_its_requests(model: Any) -> None:
    """An engine that raises does not end the process: the next batch is answered."""
    responses = model.execute([_batch(1), _batch(float("nan"))])
    assert [response.error.text for response in responses] == ["the engine stumbled"] * 2
    assert model.execute([_batch(5)])[0].error is None


def test_model_says_which_engine_serves(model: Any, backend: list[str]) -> None:
    """The log holds the engine's own name, so that a record can be checked against it."""
    assert backend == [
        "tiny_onnx serves with fake",
        'servebench serves tiny_onnx: {"precision": "fp32"}',
    ]


def test_model_lets_go_of_its_engine(model: Any) -> None:
    """After finalize no reference keeps the model's memory."""
    model.finalize()
    assert not hasattr(model, "_engine")


@pytest.mark.parametrize(("kind", "device"), [("CPU", "cpu"), ("GPU", "cuda:1")])
def test_triton_places_the_model(
    monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, device: str
) -> None:
    """Device, threads and precision come from Triton's configuration; the file is found by its true name."""
    asked: dict[str, Any] = {}
    guest = _guest("model")
    monkeypatch.setattr(guest, "load_engine", lambda path, **kw: asked.update(path=path, **kw) or Engine())
    model = guest.TritonPythonModel()
    model.initialize(_arguments(folder, {"threads": "3", "precision": "fp16"}, kind))
    assert asked == {
        "path": (folder / "1" / "model.onnx").resolve(),
        "device": device,
        "threads": 3,
        "precision": "fp16",
        "input_dtype": "",
        "max_batch_size": 1,
        "cuda_graphs": "off",
    }


def test_a_model_of_pixels_is_known_by_its_configuration(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """What Triton takes on the wire is what the engine must take: the file is checked against it."""
    asked: dict[str, Any] = {}
    guest = _guest("model")
    monkeypatch.setattr(guest, "load_engine", lambda _, **kw: asked.update(**kw) or Engine())
    arguments = _arguments(folder, {})
    config = {"input": [{"name": "input", "data_type": "TYPE_UINT8"}], "parameters": {}}
    guest.TritonPythonModel().initialize({**arguments, "model_config": json.dumps(config)})
    assert asked["input_dtype"] == "uint8"


def test_folder_without_a_model_is_told(folder: Path) -> None:
    """The error names the folder and the files it looked for."""
    (folder / "1" / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError, match=r"1: expected one of model\.onnx, model\.pt"):
        _guest("model").model_file(folder / "1")


def _jpeg(shade: int) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (300, 260), (shade, shade, shade)).save(buffer, format="JPEG")
    return buffer.getvalue()


def _encoded(*images: bytes) -> Request:
    rows = np.empty((len(images), 1), dtype=np.object_)
    rows[:, 0] = images
    return Request({"image": rows})


@pytest.fixture
def preprocessing(folder: Path) -> Iterator[Any]:
    """Initialise the preprocessing model."""
    model = _guest("preprocess").TritonPythonModel()
    model.initialize(_arguments(folder, {"threads": "2"}))
    yield model
    model.finalize()


def test_encoded_images_become_pixels_in_their_order(preprocessing: Any) -> None:
    """Every request gets the pixels of its own images, as the shared guest makes them."""
    import imagenet

    shades = [[10, 200], [90]]
    responses = preprocessing.execute([_encoded(*map(_jpeg, group)) for group in shades])
    for response, group in zip(responses, shades, strict=True):
        expected = np.stack([imagenet.preprocess(_jpeg(shade), preprocessing._card) for shade in group])
        np.testing.assert_array_equal(response.tensors[0].array, expected)
        assert response.tensors[0].name == "pixels"


def test_a_bad_image_fails_its_own_request_only(preprocessing: Any) -> None:
    """The error says which image of the request it was; the others are answered."""
    good, bad, last = preprocessing.execute(
        [_encoded(_jpeg(1)), _encoded(_jpeg(2), b"no image"), _encoded(_jpeg(3))]
    )
    assert bad.error is not None
    assert bad.error.text.startswith("image 1: not a readable image")
    assert good.error is None
    assert last.tensors[0].array.shape == (1, 3, 224, 224)


def test_the_log_says_what_decodes(preprocessing: Any, backend: list[str]) -> None:
    """A line in the shape that is read back, under the model's own name."""
    assert backend == ['servebench serves tiny_onnx: {"decoder": "pillow"}']


def test_nvjpeg_decodes_the_images_of_all_requests_in_one_call(
    folder: Path, backend: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the GPU it was told, as a stand-in for torchvision records; a bad image is its request's alone."""
    gpu = RecordedGpu(monkeypatch)
    model = _guest("preprocess").TritonPythonModel()
    model.initialize(_arguments(folder, {"threads": "2", "decoder": "nvjpeg", "device": "cuda:1"}))
    assert backend == ['servebench serves tiny_onnx: {"decoder": "nvjpeg"}']
    gpu.calls.clear()
    asked = [_encoded(_jpeg(10), _jpeg(200)), _encoded(b"no image"), _encoded(_jpeg(90))]
    first, bad, last = model.execute(asked)
    model.finalize()
    assert gpu.calls == [(3, "rgb", "cuda:1")]
    assert (len(first.tensors[0].array), len(last.tensors[0].array)) == (2, 1)
    assert (first.tensors[0].array.dtype, first.tensors[0].array.shape) == (np.float32, (2, 3, 224, 224))
    assert first.tensors[0].array[0].max() < last.tensors[0].array.min() < first.tensors[0].array[1].min()
    assert bad.error is not None
    assert bad.error.text.startswith("image 0: not a readable image")


def test_a_decoder_that_is_asked_for_and_not_there_is_no_preprocessing(folder: Path) -> None:
    """Triton then refuses to load the model with these words, in place of decoding otherwise."""
    model = _guest("preprocess").TritonPythonModel()
    with pytest.raises(RuntimeError, match="nvjpeg needs a CUDA device, and the server is on cpu"):
        model.initialize(_arguments(folder, {"decoder": "nvjpeg"}))
