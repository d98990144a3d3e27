"""An image's own tools make a file on a real engine: once, kept, with their last words when they fail.

The image is the base of tests with a stand-in for TensorRT's ``trtexec``: it takes the same flags and writes
what it was told into the plan. Nothing here needs a GPU but a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.containers import ContainerImage, ContainerSettings, ImageBuild, Preparation
from pytest_servebench.errors import LaunchError, ToolMissingError
from pytest_servebench.held import LAYERS, Held
from pytest_servebench.launchers.docker import DockerLauncher, Workshop
from pytest_servebench.launchers.docker.engine import Engine
from pytest_servebench.launchers.docker.request import Surround, preparation_request
from pytest_servebench.models.held_file import held_in
from pytest_servebench.plan import Artifact, Deployment, Device, ModelFormat
from pytest_servebench.stacks.triton_plan import TRTEXEC, plan_preparation
from pytest_servebench.testing.clock import FakeClock
from tests.engine import BASE

pytestmark = [pytest.mark.live, pytest.mark.docker, pytest.mark.usefixtures("label")]

STAND_IN = """#!/usr/bin/python3
import json, os, pathlib, sys, time
told = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
print("&&&& RUNNING TensorRT.trtexec", *sys.argv[1:], flush=True)
model = pathlib.Path(told["onnx"]).read_bytes()
if model == b"broken":
    sys.exit("[E] ModelImporter.cpp: Could not parse the model\\n&&&& FAILED TensorRT.trtexec")
if model == b"endless":
    time.sleep(600)
cache = pathlib.Path(told["timingCacheFile"])
timed = cache.read_text() if cache.exists() else ""
cache.write_text(timed + "timed ")
weights = {"half": "Half"}.get(model.decode(), "Float")
product = {"Name": "conv", "LayerType": "CaskConvolution", "Inputs": [], "Weights": {"Type": weights}}
detailed = told["profilingVerbosity"] == "detailed"
layers = [product, {**product, "Name": "fc", "LayerType": "gemm"}] if detailed else ["conv", "fc"]
pathlib.Path(told["exportLayerInfo"]).write_text(json.dumps({"Layers": layers, "Bindings": ["input"]}))
said = {"told": told, "timed": timed, "environment": dict(os.environ), "user": os.getuid()}
pathlib.Path(told["saveEngine"]).write_text(json.dumps(said))
print("&&&& PASSED TensorRT.trtexec", flush=True)
"""
DOCKERFILE = f"ARG BASE\nFROM ${{BASE}}\nCOPY trtexec {TRTEXEC}\nRUN chmod 755 {TRTEXEC}\n"
DEPLOYMENT = Deployment(
    stack="triton", model="tiny", format=ModelFormat.TENSORRT, max_batch_size=4, device=Device("cuda")
)


@pytest.fixture(scope="module")
def image(client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerImage]:
    """Describe an image with the stand-in; it is gone afterwards."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "trtexec").write_text(STAND_IN)
    yield ContainerImage(
        name="test-trtexec",
        build=ImageBuild(
            dockerfile_path=folder / "Dockerfile",
            files={"trtexec": folder / "trtexec"},
            arguments={"BASE": BASE},
        ),
    )
    for made in client.images.list(filters={"label": "servebench.image=test-trtexec"}):
        client.images.remove(made.id, force=True)


def prepared(image: ContainerImage, folder: Path, model: bytes = b"model", batch: int = 4) -> Preparation:
    """Return how Triton's stack has a plan built of such a model, in a folder that is hard to quote."""
    path = folder / "models with $cash" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model)
    artifact = Artifact(
        model="tiny",
        format=ModelFormat.TENSORRT,
        path=path,
        card_path=path,
        labels_path=path,
        sha256=model.hex(),
        weights="none",
    )
    made = plan_preparation(replace(DEPLOYMENT, max_batch_size=batch), artifact, image, entrypoint=False)
    assert made is not None
    return made


def launcher(label: dict[str, str], cache: Path, **changes: Any) -> DockerLauncher:
    """Return a launcher that keeps what is made in ``cache``."""
    shop = Workshop(cache_dir=cache, gpu=lambda index: f"GPU {index}")
    return DockerLauncher(**{"labels": label, "workshop": shop, **changes})


def test_a_plan_is_built_kept_and_served_again(
    image: ContainerImage, label: dict[str, str], tmp_path: Path
) -> None:
    """The tool is told of the model and the profile; a second session finds the plan and runs nothing."""
    wanted, said = prepared(image, tmp_path), []
    docker = launcher(label, tmp_path / "cache", making=lambda name, text: said.append((name, text)))
    path = docker.prepare("triton", wanted)
    made = json.loads(path.read_text())
    assert made["told"]["onnx"] == "/servebench/source/model.onnx"
    assert made["told"]["maxShapes"] == "input:4x3x224x224"
    assert "noTF32" in made["told"]
    assert made["environment"]["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "PASSED TensorRT.trtexec" in Path(f"{path.parent}.log").read_text()
    assert ("tiny_tensorrt", "model.plan is made: this takes minutes, once for this GPU and image") in said
    said.clear()
    stamp = path.stat().st_mtime_ns
    assert launcher(label, tmp_path / "cache").prepare("triton", wanted) == path
    assert path.stat().st_mtime_ns == stamp
    other = docker.prepare("triton", prepared(image, tmp_path, batch=1))
    assert other != path
    assert json.loads(other.read_text())["timed"] == "timed ", "what was timed for the first helps the second"


@pytest.mark.parametrize(("model", "found"), [(b"half", "fp16"), (b"model", "fp32")])
def test_a_plan_tells_in_which_types_it_computes(
    image: ContainerImage, label: dict[str, str], tmp_path: Path, model: bytes, found: str
) -> None:
    """What its builder says of its layers lies beside the plan, and is read from there each time."""
    wanted = prepared(image, tmp_path, model)
    path = launcher(label, tmp_path / "cache").prepare("triton", wanted)
    again = launcher(label, tmp_path / "cache").prepare("triton", wanted)
    assert (path.parent / LAYERS).is_file()
    assert held_in(path) == held_in(again) == Held(precision=found, layers={found: 2})


def test_what_is_made_belongs_to_who_runs_it(
    image: ContainerImage, label: dict[str, str], tmp_path: Path
) -> None:
    """Its cache is his to clear, whomever servers run as."""
    docker = launcher(label, tmp_path / "cache", settings=ContainerSettings(user="1234:1235"))
    path = docker.prepare("triton", prepared(image, tmp_path))
    assert path.stat().st_uid == json.loads(path.read_text())["user"] == tmp_path.stat().st_uid


def test_a_build_that_fails_is_told_by_its_last_words(
    client: Any, image: ContainerImage, label: dict[str, str], tmp_path: Path
) -> None:
    """With its exit code, where its whole log is, and what to do; the next build begins anew."""
    with pytest.raises(LaunchError, match=r"model\.plan for tiny_tensorrt cannot be made") as caught:
        launcher(label, tmp_path / "cache").prepare("triton", prepared(image, tmp_path, b"broken"))
    assert caught.value.seen.startswith("it ended with exit code 1; the last lines of its log:")
    assert "Could not parse the model" in caught.value.seen
    assert TRTEXEC in caught.value.next_step
    (log,) = (tmp_path / "cache" / "plans").glob("*.log")
    assert str(log) in caught.value.where
    assert "FAILED" in log.read_text()
    assert list((tmp_path / "cache" / "plans").glob("**/model.plan")) == []


def test_an_image_without_the_tool_is_told(label: dict[str, str], tmp_path: Path) -> None:
    """The engine's own words, and how another image is named that has it."""
    with pytest.raises(ToolMissingError, match=f"the image has no {TRTEXEC}") as caught:
        launcher(label, tmp_path / "cache").prepare("triton", prepared(ContainerImage(name=BASE), tmp_path))
    assert TRTEXEC in caught.value.seen
    assert "--serve-plan-image=" in caught.value.next_step


def test_a_build_without_an_end_is_ended(
    image: ContainerImage, label: dict[str, str], tmp_path: Path
) -> None:
    """At its limit; the clock is the launcher's."""
    wanted = replace(prepared(image, tmp_path, b"endless"), limit_s=5.0)
    with pytest.raises(LaunchError, match="cannot be made") as caught:
        launcher(label, tmp_path / "cache", clock=FakeClock()).prepare("triton", wanted)
    assert caught.value.seen.startswith("not done after 5 s; the last lines of its log:")


class _Interrupted(FakeClock):
    """At the first look at the tool, somebody presses Ctrl-C."""

    def sleep_s(self, seconds: float) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_build_leaves_nothing(
    image: ContainerImage, label: dict[str, str], tmp_path: Path
) -> None:
    """Neither its container (the label's fixture looks) nor half a plan; only the log stays."""
    wanted = prepared(image, tmp_path, b"endless")
    with pytest.raises(KeyboardInterrupt):
        launcher(label, tmp_path / "cache", clock=_Interrupted()).prepare("triton", wanted)
    left = [path.name for path in (tmp_path / "cache" / "plans").iterdir() if path.is_dir()]
    assert [name for name in left if not name.startswith("shared-")] == []


def test_without_the_nvidia_toolkit_a_plan_says_what_to_install(
    client: Any, image: ContainerImage, label: dict[str, str], tmp_path: Path
) -> None:
    """As a server's launch does."""
    if "nvidia" in client.info().get("Runtimes", {}):
        pytest.skip("this engine has the NVIDIA toolkit")
    docker = launcher(label, tmp_path / "cache", device=Device("cuda"))
    with pytest.raises(LaunchError, match="the Docker engine gives no GPU to containers") as caught:
        docker.prepare("triton", prepared(image, tmp_path))
    assert "nvidia-container-toolkit" in caught.value.next_step


def test_the_tools_container_is_as_was_asked_for(client: Any, label: dict[str, str], tmp_path: Path) -> None:
    """What the engine made: the server's GPU, the model read-only, one folder to write to, no network."""
    wanted = prepared(ContainerImage(name=BASE), tmp_path)
    surround = Surround(
        settings=ContainerSettings(),
        device=Device("cuda", 1),
        host="127.0.0.1",
        user="1000:1000",
        labels=label,
    )
    folder = tmp_path / "made"
    folder.mkdir()
    request = preparation_request(
        wanted, surround, name=f"servebench-test-{id(label)}", image_id=BASE, user="501:20", folder=folder
    )
    engine = Engine()
    container_id = engine.create(request.container, request.host)
    try:
        made = client.api.inspect_container(container_id)
    finally:
        engine.remove(container_id)
        engine.close()
    host = made["HostConfig"]
    (gpu,) = host["DeviceRequests"]
    assert (gpu["Driver"], gpu["DeviceIDs"], gpu["Capabilities"]) == ("nvidia", ["1"], [["gpu"]])
    bound = {each["Destination"]: each["RW"] for each in made["Mounts"] if each["Type"] == "bind"}
    assert bound == {"/servebench/source": False, "/servebench/made": True}
    assert (host["NetworkMode"], host["CapDrop"]) == ("none", ["ALL"])
    assert (made["Config"]["User"], made["Path"]) == ("501:20", TRTEXEC)
    assert "--exportLayerInfo=/servebench/made/layers.json" in made["Args"]
    assert label.items() <= made["Config"]["Labels"].items()
