"""How Triton is described: launch, what it lacks, which engine serves."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.errors import MissingPieceError
from pytest_servebench.interfaces import ModelControl, Stack
from pytest_servebench.plan import (
    CPU,
    Artifact,
    Case,
    Deployment,
    Device,
    Image,
    ModelFormat,
    Payload,
    WireProtocol,
)
from pytest_servebench.stacks import triton, triton_asked
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.stacks.triton_wheel import Interpreter, TritonWheel
from tests.unit.stacks.unopened import unopened_artifact

DEPLOYMENT = Deployment(stack="triton", model="tiny", format=ModelFormat.ONNX)
VALUES = {
    "host": "127.0.0.1",
    "workdir": "/w d",
    "http_port": "1",
    "grpc_port": "2",
    "metrics_port": "3",
}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """Name an artifact that nobody opens."""
    return replace(unopened_artifact(tmp_path, DEPLOYMENT), path=tmp_path / "any name.onnx")


@pytest.fixture
def spec(
    monkeypatch: pytest.MonkeyPatch, wheel: TritonWheel, interpreter: Interpreter, artifact: Artifact
) -> Any:
    """Describe the launch of two batch settings of one model, on that wheel."""
    monkeypatch.setattr(triton, "find_wheel", lambda: wheel)
    monkeypatch.setattr(triton, "running_interpreter", lambda: interpreter)
    capped = replace(DEPLOYMENT, max_batch_size=1)
    return Triton().launch_spec([DEPLOYMENT, capped], {"tiny_onnx": artifact})


def test_it_is_a_stack_with_model_control() -> None:
    """The shape the rest of the house relies on, checked by mypy."""
    stack: Stack = Triton()
    control: ModelControl = Triton()
    assert stack.name == "triton"
    assert control.unload_requests(DEPLOYMENT)


def test_module_import_loads_nothing_heavy() -> None:
    """Collecting tests must not pay for gRPC, protobuf or an engine."""
    code = (
        "import sys, pytest_servebench.stacks.triton as t; t.Triton().missing(list(t.ModelFormat));"
        "heavy = {'grpc', 'google.protobuf', 'tritonclient', 'pytriton', 'torch', 'onnxruntime'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_everything_listens_on_the_host_the_launcher_says(spec: Any) -> None:
    """Loopback is the launcher's choice for all three ports; Triton's own default is every address."""
    words = [string.Template(word).substitute(VALUES) for word in spec.argv]
    for role, port in (("http", 1), ("grpc", 2), ("metrics", 3)):
        assert f"--{role}-address=127.0.0.1" in words
        assert f"--{role}-port={port}" in words
    assert set(spec.port_roles) == {"http", "grpc", "metrics"}


def test_server_sees_only_relative_paths(spec: Any) -> None:
    """Triton's backend puts its paths into a shell command unquoted, so a space would end it."""
    flags = [word for word in spec.argv if word.startswith("--")]
    assert "--model-repository=repository" in flags
    assert "--backend-directory=backends" in flags
    assert not any("workdir" in flag for flag in flags)
    assert "${workdir}" in spec.argv


def test_launch_line_survives_spaces_dollars_and_an_empty_library_path(
    spec: Any, wheel: TritonWheel, tmp_path: Path
) -> None:
    """The shell line changes folder, prepends both paths and passes the rest on untouched."""
    words = [string.Template(word).substitute({**VALUES, "workdir": str(tmp_path)}) for word in spec.argv]
    server = words.index(str(wheel.server_path))
    shown = [*words[:server], "/bin/sh", "-c", 'echo "$PWD|$PATH|$LD_LIBRARY_PATH"']
    for inherited, expected in ((None, ""), ("/opt/lib", ":/opt/lib")):
        environment = {"PATH": "/usr/bin:/bin", **({"LD_LIBRARY_PATH": inherited} if inherited else {})}
        out = subprocess.run(shown, capture_output=True, text=True, check=True, env=environment).stdout
        libraries = f"{wheel.libraries_path}:{tmp_path}{expected}"
        assert out.strip() == f"{tmp_path}|/venv/bin:/usr/bin:/bin|{libraries}"


@pytest.mark.parametrize(("device", "order"), [(Device("cuda", 1), "PCI_BUS_ID"), (CPU, None)])
def test_gpus_are_counted_as_leases_and_telemetry_do(
    spec: Any, artifact: Artifact, device: Device, order: str | None
) -> None:
    """By their slots; a server on a CPU is told nothing of GPUs."""
    assert "CUDA_DEVICE_ORDER" not in spec.environment
    asked = Triton().launch_spec([replace(DEPLOYMENT, device=device)], {"tiny_onnx": artifact})
    assert asked.environment.get("CUDA_DEVICE_ORDER") == order


def test_no_model_is_loaded_at_start(spec: Any) -> None:
    """Models come by the control API, one setting after the other."""
    assert "--model-control-mode=explicit" in spec.argv
    assert not any(word.startswith("--load-model") for word in spec.argv)


def test_repository_lays_out_each_model_once(spec: Any, artifact: Artifact) -> None:
    """Two batch settings of a model share one folder with guest, engine and model file."""
    files = {file.path: file for file in spec.files}
    assert len(files) == len(spec.files)
    assert files["repository/tiny_onnx/1/model.onnx"].source == artifact.path
    assert files["repository/tiny_onnx_preprocess/1/card.json"].source == artifact.card_path
    assert {"model.py", "engine.py"} <= {Path(path).name for path in files if "/tiny_onnx/1/" in path}
    assert "repository/tiny_onnx_jpeg/config.pbtxt" in files


def test_files_are_text_or_an_existing_source(spec: Any, tmp_path: Path) -> None:
    """Guests are found in the shipped folder; texts survive the launcher's placeholders."""
    for file in spec.files:
        assert (file.text is None) != (file.source is None)
        if file.text is not None:
            string.Template(file.text).substitute({})
        elif not file.source.is_relative_to(tmp_path):
            assert file.source.is_file()


def test_python_can_not_write_into_the_version_folders(spec: Any) -> None:
    """Bytecode there would make Triton reload the models of an ensemble and forget their setting."""
    kept = {Path(file.path).parent for file in spec.files if Path(file.path).name == "__pycache__"}
    models = {"tiny_onnx", "tiny_onnx_preprocess", "tiny_onnx_jpeg"}
    assert kept == {Path("repository") / name / "1" for name in models}


def test_backend_and_stub_are_copied(spec: Any) -> None:
    """Triton changes the mode of a stub it can not run: never the installed one."""
    backend = [file for file in spec.files if file.path.startswith("backends/")]
    assert [file.copy for file in backend] == [True, True]
    assert backend[1].source.parent.name == "3.11"


def test_tensorrt_is_for_the_container_only() -> None:
    """As a local process TensorRT is refused, with the way out."""
    (piece,) = (p for p in Triton().missing([ModelFormat.TENSORRT]) if "TensorRT" in p.what)
    assert "--serve-launcher=docker" in piece.remedy


@pytest.mark.parametrize(
    ("model_format", "gone", "said"),
    [
        (ModelFormat.ONNX, "onnxruntime", "onnxruntime, which runs onnx models in Triton"),
        (ModelFormat.PYTORCH, "torch", "torch, which runs pytorch models in Triton"),
        (ModelFormat.ONNX, "tritonclient", "Triton's client (package tritonclient)"),
    ],
)
def test_missing_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, model_format: ModelFormat, gone: str, said: str
) -> None:
    """Each package a format needs is looked for, and named when it is not there."""
    for module in (triton, triton_asked):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == gone else object())
    monkeypatch.setattr(triton, "missing_server", lambda *_: ())
    (piece,) = Triton().missing([model_format])
    assert piece.what == said
    assert piece.remedy.startswith("pip install")


def test_launch_without_the_wheel_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, artifact: Artifact
) -> None:
    """A launch that can not be described is an error with the remedy."""
    monkeypatch.setattr(triton, "find_wheel", lambda: None)
    with pytest.raises(MissingPieceError, match=r"nvidia-pytriton\)\n  next: pip install"):
        Triton().launch_spec([DEPLOYMENT], {"tiny_onnx": artifact})


@pytest.mark.parametrize(
    ("model_format", "device", "backend"),
    [
        (ModelFormat.ONNX, Device("cpu"), "onnxruntime CPUExecutionProvider"),
        (ModelFormat.ONNX, Device("cuda", 1), "onnxruntime CUDAExecutionProvider"),
        (ModelFormat.PYTORCH, Device("cpu"), "torch cpu"),
        (ModelFormat.PYTORCH, Device("cuda", 1), "torch cuda:1"),
    ],
)
def test_backend_is_the_engine_inside_the_python_backend(
    model_format: ModelFormat, device: Device, backend: str
) -> None:
    """The record says which engine served, not just Triton."""
    deployment = replace(DEPLOYMENT, format=model_format, device=device)
    assert Triton().backend(deployment) == f"python backend: {backend}"


def test_load_goes_from_the_parts_to_the_ensemble_and_unload_back() -> None:
    """An ensemble is loaded after its models and unloaded before them."""
    loaded = [request.path.split("/")[-2] for request in Triton().load_requests(DEPLOYMENT)]
    unloaded = [request.path.split("/")[-2] for request in Triton().unload_requests(DEPLOYMENT)]
    assert loaded == ["tiny_onnx", "tiny_onnx_preprocess", "tiny_onnx_jpeg"]
    assert unloaded == loaded[::-1]


def test_load_carries_the_batch_setting_of_its_deployment() -> None:
    """One server serves every batch setting: it travels with the load."""
    request = Triton().load_requests(replace(DEPLOYMENT, max_batch_size=1))[0]
    config = json.loads(json.loads(request.body)["parameters"]["config"])
    assert config["max_batch_size"] == 1
    assert "dynamic_batching" not in config


@pytest.mark.parametrize(
    ("payload", "protocol", "said"),
    [
        (Payload.TENSOR, WireProtocol.HTTP, "/v2/models/tiny_onnx/infer"),
        (Payload.JPEG, WireProtocol.HTTP, "/v2/models/tiny_onnx_jpeg/infer"),
        (Payload.TENSOR, WireProtocol.GRPC, "/inference.GRPCInferenceService/ModelInfer"),
    ],
)
def test_payload_and_protocol_choose_model_and_wire(
    payload: Payload, protocol: WireProtocol, said: str
) -> None:
    """Tensors go to the model, encoded images to its ensemble."""
    import numpy as np

    image = Image(index=0, jpeg=b"x", tensor=np.zeros((3, 224, 224), np.float32))
    case = Case(deployment=DEPLOYMENT, payload=payload, protocol=protocol)
    request = Triton().encode(case, [image])
    assert (request.path, request.protocol) == (said, protocol)


def test_counters_are_asked_of_the_model_also_for_encoded_images() -> None:
    """An ensemble has no batches of its own."""
    request = Triton().counters_request(DEPLOYMENT)
    assert request is not None
    assert (request.method, request.path) == ("GET", "/v2/models/tiny_onnx/stats")
