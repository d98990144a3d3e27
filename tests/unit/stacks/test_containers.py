"""What is particular to each stack's container: its image, its launch line, what it lacks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import pytest

from pytest_servebench.containers import ContainerImage, ImageChoice
from pytest_servebench.errors import PlanError
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.launchers.docker.context import tag_of
from pytest_servebench.plan import CPU, Artifact, Deployment, Device, LaunchSpec, ModelFormat
from pytest_servebench.stacks import images
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from tests.container_forms import in_container
from tests.unit.stacks.unopened import unopened_artifact

GPU = Device("cuda", 1)
BOTH = (ModelFormat.ONNX, ModelFormat.PYTORCH)
UPSTREAM = "pytorch/torchserve:0.12.0-gpu"


def deployment(stack: str, **changes: Any) -> Deployment:
    """Return ResNet50 as onnx, but for ``changes``."""
    return replace(Deployment(stack=stack, model="resnet50", format=ModelFormat.ONNX), **changes)


def artifacts(*served: Deployment) -> Mapping[str, Artifact]:
    """Return artifacts that nobody opens."""
    return {each.served_name: unopened_artifact(Path("/models"), each) for each in served}


def image_of(spec: LaunchSpec) -> ContainerImage:
    """Return the image of a launch in a container."""
    assert spec.container is not None
    return spec.container.image


@pytest.mark.parametrize(
    ("device", "base", "engines"), [(CPU, images.CPU_BASE, "cpu"), (GPU, images.CUDA_BASE, "cuda")], ids=str
)
def test_the_device_chooses_base_and_engines(device: Device, base: str, engines: str) -> None:
    """An image for a CPU holds no CUDA, one for a GPU the builds that use it."""
    image = images.engine_image("fastapi", ImageChoice(), device)
    assert image.name == "fastapi"
    assert image.build is not None
    assert image.build.arguments == {"BASE": base, "ENGINES": engines}
    assert set(image.build.files) == {f"requirements/engines-{engines}.txt", "requirements/fastapi.txt"}


@pytest.mark.parametrize("name", ["fastapi", "torchserve"])
def test_an_image_for_a_gpu_has_what_nvjpeg_is_called_by(name: str) -> None:
    """The list in its build context names torchvision, so the image's tag follows it; a CPU's has none."""
    pinned = re.compile(r"^torchvision===[\d.]+$", re.MULTILINE)
    tags = set()
    for device, has in ((GPU, True), (CPU, False)):
        build = images.engine_image(name, ImageChoice(), device).build
        assert build is not None
        engines = build.files[f"requirements/engines-{build.arguments['ENGINES']}.txt"]
        assert bool(pinned.search(engines.read_text(encoding="utf-8"))) is has
        tags.add(tag_of(build))
    assert len(tags) == 2


def test_another_torchvision_is_another_image(tmp_path: Path) -> None:
    """What was built with one is not taken for what has the other."""
    build = images.engine_image("fastapi", ImageChoice(), GPU).build
    assert build is not None
    listed = "requirements/engines-cuda.txt"
    text = build.files[listed].read_text(encoding="utf-8")
    (tmp_path / "other.txt").write_text(text.replace("torchvision===", "torchvision===9"), encoding="utf-8")
    other = replace(build, files={**build.files, listed: tmp_path / "other.txt"})
    assert tag_of(other) != tag_of(build)


def test_only_what_an_image_holds_is_sent_to_build_it() -> None:
    """Another image's list does not change this one's content, so neither its tag."""
    build = images.triton_image(ImageChoice(wheels_path=Path("/w"))).build
    assert build is not None
    lists = shipped("deploy") / "requirements"
    assert build.files == {"requirements/triton.txt": lists / "triton.txt", "wheels": Path("/w")}
    assert build.arguments == {"BASE": images.TRITON_BASE}


def test_triton_without_a_gpu_is_the_wheels_server() -> None:
    """NVIDIA's image is for a GPU, or where the user names it; what is built for a CPU is the wheel's."""
    named = ImageChoice(reference="nvcr.io/nvidia/tritonserver:25.10-py3")
    for choice, device, backend in (
        (ImageChoice(), CPU, "python backend: onnxruntime CPUExecutionProvider"),
        (ImageChoice(base="python:3.12-slim"), CPU, "python backend: onnxruntime CPUExecutionProvider"),
        (named, CPU, "onnxruntime backend: CPUExecutionProvider"),
        (ImageChoice(), GPU, "onnxruntime backend: CUDAExecutionProvider"),
        (named, GPU, "onnxruntime backend: CUDAExecutionProvider"),
    ):
        stack = in_container(Triton(), choice, device)
        assert stack.backend(deployment("triton", device=device)) == backend


@pytest.mark.parametrize(("choice", "device"), [(ImageChoice(), GPU), (ImageChoice(reference="t:1"), CPU)])
def test_nvidias_triton_serves_each_format_by_its_own_backend(choice: ImageChoice, device: Device) -> None:
    """Its repository holds models and configurations, and our code for the preprocessing alone."""
    stack = in_container(Triton(), choice, device)
    served = [deployment("triton", device=device, format=each) for each in BOTH]
    spec = stack.launch_spec(served, artifacts(*served))
    files = {file.path: file for file in spec.files}
    assert files["repository/resnet50_pytorch/1/model.pt"].source == Path("/models/model.pt")
    assert "repository/resnet50_onnx/1/model.py" not in files
    assert "repository/resnet50_onnx_preprocess/1/model.py" in files
    text = files["repository/resnet50_pytorch/config.pbtxt"].text
    assert text is not None
    assert 'backend: "pytorch"' in text
    assert spec.container is not None
    assert spec.container.image_entrypoint, "NVIDIA's sets CUDA up"


def test_a_python_backend_is_given_our_code() -> None:
    """The wheel's server runs the model file by our guest, as the local process does."""
    served = deployment("triton")
    spec = in_container(Triton(), ImageChoice()).launch_spec([served], artifacts(served))
    local = {file.path for file in spec.files if file.path.startswith("repository/resnet50_onnx/")}
    assert {"model.py", "engine.py", "model.onnx"} <= {Path(path).name for path in local}
    assert spec.argv[:2] == ("tritonserver", "--model-repository=${workdir}/repository")
    assert spec.container is not None
    assert not spec.container.image_entrypoint
    assert not any("backend-directory" in word for word in spec.argv), "the image knows its own"


def test_tensorrt_is_nvidias_image_alone() -> None:
    """The image for a CPU refuses TensorRT with words; NVIDIA's has it."""
    (piece,) = in_container(Triton(), ImageChoice()).missing([ModelFormat.TENSORRT])
    assert "TensorRT" in piece.what
    assert "--serve-device=cuda" in piece.remedy
    assert in_container(Triton(), ImageChoice(), GPU).missing([ModelFormat.TENSORRT]) == ()


@pytest.mark.parametrize(
    "name", [UPSTREAM, "docker.io/pytorch/torchserve@sha256:0", "pytorch/torchserve-nightly:gpu"]
)
def test_pytorchs_own_torchserve_serves_pytorch_alone(name: str) -> None:
    """The image has no onnxruntime: onnx is refused by name, with what to do; pytorch is served."""
    stack = in_container(Torchserve(), ImageChoice(reference=name), GPU)
    (piece,) = stack.missing(BOTH)
    assert piece.what == f"onnxruntime, which the image {name} does not have"
    assert "--serve-format=pytorch" in piece.remedy
    assert stack.missing([ModelFormat.PYTORCH]) == ()


@pytest.mark.parametrize("name", ["mine/torchserve:1", "registry.example/pytorch/torchserve-with-onnx:2"])
def test_another_image_of_torchserve_is_trusted(name: str) -> None:
    """What a user's own image lacks, its server says when a model is loaded."""
    assert in_container(Torchserve(), ImageChoice(reference=name)).missing(BOTH) == ()


def test_torchserve_finds_itself_in_the_image(tmp_path: Path) -> None:
    """The launch line asks the image's Python where TorchServe lies, and starts the image's Java there."""
    served = deployment("torchserve")
    spec = in_container(Torchserve(), ImageChoice()).launch_spec([served], artifacts(served))
    workdir = tmp_path / "a folder"
    (tmp_path / "site" / "ts").mkdir(parents=True)
    (tmp_path / "site" / "ts" / "__init__.py").write_text("raise SystemExit('imported')")
    workdir.mkdir()
    java = tmp_path / "java"
    java.write_text('#!/bin/sh\necho "$PWD|$TS_MODEL_SERVER_HOME"; for word; do echo "$word"; done\n')
    java.chmod(0o755)
    argv = [Template(word).substitute(workdir=str(workdir)) for word in spec.argv]
    environment = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    place, *words = done.stdout.splitlines()
    home = tmp_path / "site"
    assert place == f"{workdir}|{home}"
    assert words[:2] == [f"-Djava.io.tmpdir={workdir}/tmp", f"-Dmodel_server_home={home}"]
    assert words[words.index("-cp") + 1] == f"{home}/ts/frontend/model-server.jar"
    assert words.index("-cp") < words.index("org.pytorch.serve.ModelServer")
    assert words[-2] == "--python"
    assert Path(words[-1]).name == "python3"


def test_torchserve_writes_its_sockets_and_logs_to_memory() -> None:
    """Its folder is read-only, so what it writes there is named; the archives are not."""
    served = deployment("torchserve")
    spec = in_container(Torchserve(), ImageChoice()).launch_spec([served], artifacts(served))
    assert spec.container is not None
    assert spec.container.scratch == ("tmp", "logs", "/tmp")
    assert spec.environment["TEMP"] == "${workdir}/tmp"


def test_torchserve_registers_what_lies_in_its_store() -> None:
    """The archive named at registration is the one in the container, whatever the GPU's number outside."""
    served = deployment("torchserve", device=GPU)
    stack = Torchserve().in_container(ImageChoice(), GPU)
    spec = stack.launch_spec([served], artifacts(served))
    (request,) = stack.load_requests(served)  # type: ignore[attr-defined]  # a ModelControl
    (folder,) = {Path(file.path).parts[1] for file in spec.files if file.path.startswith("store/resnet50")}
    assert f"url={folder}&" in request.path
    assert folder == "resnet50_onnx-cuda0-fp32-t2"
    (config,) = (file.text for file in spec.files if file.path.endswith("model-config.yaml"))
    assert config is not None
    assert 'device: "cuda:0"' in config


def test_several_gpus_are_the_first_ones_inside() -> None:
    """Whatever they are called out here; TorchServe's frontend counts them without asking anybody."""
    gpus = Device("cuda", 1, (3,))
    served = deployment("torchserve", device=gpus)
    stack = Torchserve().in_container(ImageChoice(), gpus)
    spec = stack.launch_spec([served], artifacts(served))
    assert spec.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    (config,) = (file.text for file in spec.files if file.path.endswith("model-config.yaml"))
    assert config is not None
    assert 'device: "cuda:0,1"' in config
    (request,) = stack.load_requests(served)  # type: ignore[attr-defined]  # a ModelControl
    assert "url=resnet50_onnx-cuda0-1-fp32-t2&" in request.path
    assert "initial_workers=2&" in request.path
    one = deployment("fastapi", device=gpus)
    spec = in_container(Fastapi(), ImageChoice(), gpus).launch_spec([one], artifacts(one))
    assert spec.environment["SERVEBENCH_DEVICE"] == "cuda:0,1"


def test_fastapi_serves_its_one_model_from_its_folder() -> None:
    """Model, card, labels and code lie in the private folder, and the settings lead there."""
    served = deployment("fastapi", device=GPU, max_batch_size=32)
    spec = in_container(Fastapi(), ImageChoice(), GPU).launch_spec([served], artifacts(served))
    placed = {f"${{workdir}}/{file.path}" for file in spec.files}
    environment = spec.environment
    assert {environment[f"SERVEBENCH_{name}_PATH"] for name in ("MODEL", "CARD", "LABELS")} <= placed
    assert environment["SERVEBENCH_DEVICE"] == "cuda:0"
    assert environment["SERVEBENCH_MAX_BATCH_SIZE"] == "32"
    assert spec.argv[spec.argv.index("--app-dir") + 1] == "${workdir}/handlers"
    assert {"${workdir}/handlers/fastapi_app", "${workdir}/handlers/engine.py"} <= placed


def test_fastapi_refuses_two_models_in_a_container_too() -> None:
    """One server has one model, wherever it runs."""
    served = [deployment("fastapi", format=each) for each in BOTH]
    with pytest.raises(PlanError, match="one deployment at a time"):
        in_container(Fastapi(), ImageChoice()).launch_spec(served, artifacts(*served))


def test_load_requests_of_nvidias_triton_carry_its_own_backends() -> None:
    """What a running server is told at load is what its repository says, under the batch setting asked."""
    served = deployment("triton", device=GPU, max_batch_size=16, max_queue_delay_ms=0.25)
    stack = Triton().in_container(ImageChoice(), GPU)
    configs = [
        json.loads(json.loads(one.body)["parameters"]["config"])
        for one in stack.load_requests(served)  # type: ignore[attr-defined]  # a ModelControl
    ]
    model, preprocess, ensemble = configs
    assert (model["backend"], preprocess["backend"], ensemble["platform"]) == (
        "onnxruntime",
        "python",
        "ensemble",
    )
    assert [config["max_batch_size"] for config in configs] == [16, 16, 16]
    assert model["instance_group"] == [{"count": 2, "kind": "KIND_GPU", "gpus": [0]}]
    assert model["dynamic_batching"]["preferred_batch_size"] == [4, 8, 16]
    assert model["dynamic_batching"]["max_queue_delay_microseconds"] == "250"
    assert [one["batch_size"] for one in model["model_warmup"]] == [1, 4, 8, 16]
