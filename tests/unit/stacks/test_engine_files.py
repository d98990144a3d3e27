"""The files of an engine, and what must be installed before one compiles a model."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_servebench.containers import ImageChoice
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Artifact, Deployment, Device, InputDtype, ModelFormat, Precision
from pytest_servebench.stacks import tensorrt_pieces
from pytest_servebench.stacks.engine_files import ENGINE_FILES, engine_files
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.tensorrt_pieces import missing_for_onnx, missing_for_torch
from pytest_servebench.stacks.torchserve import Torchserve
from tests.unit.stacks.unopened import unopened_artifact

GPU = Device("cuda", 1)
TENSORRT = [ModelFormat.TENSORRT]


def imported(path: Path) -> set[str]:
    """Return the modules that a file names in its imports, wherever they stand."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = {each.module or "" for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    return named | {
        name.name for each in ast.walk(tree) if isinstance(each, ast.Import) for name in each.names
    }


def test_an_engine_is_whole_and_no_more() -> None:
    """All that engine.py reaches among the guests is carried along, and nothing that it does not reach."""
    here = {path.stem: path for path in shipped("handlers").glob("*.py")}
    reached, waiting = set(), ["engine"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += sorted((imported(here[name]) & here.keys()) - reached)
    assert {f"{name}.py" for name in reached} == set(ENGINE_FILES)
    assert all(path.is_file() for path in engine_files().values())


def deployment(stack: str, model_format: ModelFormat = ModelFormat.TENSORRT) -> Deployment:
    """Return a deployment on the second GPU."""
    return Deployment(stack=stack, model="resnet50", format=model_format, device=GPU)


def artifact(served: Deployment, name: str) -> Artifact:
    """Return an artifact of that file."""
    return replace(unopened_artifact(Path("/models"), served), path=Path("/models") / name)


def test_fastapi_compiles_an_onnx_file() -> None:
    """The setting says the format, for the file cannot, and the first start may take its time."""
    served = replace(deployment("fastapi"), precision=Precision.FP16, input_dtype=InputDtype.UINT8)
    spec = Fastapi().launch_spec([served], {served.served_name: artifact(served, "model.onnx")})
    settings = {key.removeprefix("SERVEBENCH_"): value for key, value in spec.environment.items()}
    assert settings["MODEL_PATH"] == "/models/model.onnx"
    assert settings["MODEL_FORMAT"] == "tensorrt"
    assert settings["INPUT_DTYPE"] == "uint8"
    assert (settings["PRECISION"], settings["DEVICE"]) == ("fp16", "cuda:1")
    assert spec.ready is not None
    assert spec.ready.deadline_s == 900
    assert Fastapi().backend(served) == "onnxruntime TensorRT"


def test_torchserve_is_told_format_and_input() -> None:
    """The handler compiles what its archive says; the file's name does not tell."""
    served = replace(deployment("torchserve"), input_dtype=InputDtype.UINT8)
    spec = Torchserve().launch_spec([served], {served.served_name: artifact(served, "model.pt")})
    (config,) = (file.text for file in spec.files if file.path.endswith("model-config.yaml"))
    assert config is not None
    assert "  format: tensorrt\n  input_dtype: uint8\n" in config
    assert Torchserve().backend(served).startswith("torchserve handler: torch_tensorrt CUDA:1")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Let only these modules and distributions be found, one library by the linker, one in their folder."""

    def only(*names: str, library: str | None = None, file: str = "libnvinfer.so.10") -> None:
        for each in tmp_path.iterdir():
            each.unlink()
        (tmp_path / file).touch()
        spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(tensorrt_pieces, "find_spec", lambda name: spec if name in names else None)
        monkeypatch.setattr(tensorrt_pieces, "_is_installed", lambda name: name in names)
        monkeypatch.setattr(tensorrt_pieces, "find_library", lambda _: library)

    return only


def test_what_lacks_for_an_onnx_file_is_named(installed: Callable[..., None]) -> None:
    """The provider comes with onnxruntime-gpu, TensorRT beside it; the plugin for RTX brings both."""
    installed()
    provider, libraries = missing_for_onnx()
    assert provider.what == "onnxruntime-gpu, which has the TensorRT provider"
    assert "pip install onnxruntime-gpu" in provider.remedy
    wanted, index = "tensorrt-cu13-libs<11", "https://pypi.nvidia.com"
    assert libraries.remedy == f'pip install "{wanted}" --extra-index-url {index}'
    installed("onnxruntime-gpu")
    assert [piece.what.split(",")[0] for piece in missing_for_onnx()] == ["TensorRT 10"]
    installed("onnxruntime-gpu", library="libnvinfer.so.10")
    assert list(missing_for_onnx()) == []
    installed("onnxruntime-gpu", "tensorrt_libs")
    assert list(missing_for_onnx()) == []
    installed(tensorrt_pieces.RTX_PACKAGE)
    assert list(missing_for_onnx()) == []


def test_another_tensorrt_is_none(installed: Callable[..., None]) -> None:
    """The newest is of version 11; and with onnxruntime-gpu its own provider is taken, plugin or not."""
    installed("onnxruntime-gpu", "tensorrt_libs", file="libnvinfer.so.11")
    assert [piece.what.split(",")[0] for piece in missing_for_onnx()] == ["TensorRT 10"]
    installed("onnxruntime-gpu", library="libnvinfer.so.11")
    assert [piece.what.split(",")[0] for piece in missing_for_onnx()] == ["TensorRT 10"]
    installed("onnxruntime-gpu", tensorrt_pieces.RTX_PACKAGE)
    assert [piece.what.split(",")[0] for piece in missing_for_onnx()] == ["TensorRT 10"]


def test_what_lacks_for_a_torchscript_file_is_named(installed: Callable[..., None]) -> None:
    """Torch-TensorRT, of torch's own release."""
    installed()
    (piece,) = missing_for_torch()
    assert piece.what == "the package torch-tensorrt, which compiles TorchScript"
    installed("torch_tensorrt")
    assert list(missing_for_torch()) == []


def test_each_stack_names_what_its_engine_lacks(installed: Callable[..., None]) -> None:
    """Beside what it always looks for; without tensorrt among the formats nobody looks."""
    installed()
    assert [piece.what for piece in Fastapi().missing(TENSORRT)] == [
        piece.what for piece in missing_for_onnx()
    ]
    assert [piece.what for piece in Torchserve().missing(TENSORRT)] == [
        piece.what for piece in missing_for_torch()
    ]
    assert Fastapi().missing([ModelFormat.ONNX]) == ()


@pytest.mark.parametrize(("stack", "piece"), [(Fastapi(), "TensorRT"), (Torchserve(), "torch-tensorrt")])
def test_our_images_have_no_compiler(stack: Fastapi | Torchserve, piece: str) -> None:
    """It is refused before anything is built; a user's own image is trusted."""
    (missing,) = stack.in_container(ImageChoice(), GPU).missing(TENSORRT)
    assert missing.what == f"{piece}, which the image {stack.name} does not have"
    assert "--serve-image" in missing.remedy
    assert stack.in_container(ImageChoice(reference="mine/server:1"), GPU).missing(TENSORRT) == ()
