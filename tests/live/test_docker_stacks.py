"""The three stacks in containers of the images in ``deploy/``: up, asked and controlled as in a session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pytest

from pytest_servebench.containers import ContainerFacts, ImageChoice
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.docker import DockerLauncher, remove_all
from pytest_servebench.plan import Artifact, Case, Deployment, Image, ModelFormat, Payload, WireProtocol
from pytest_servebench.pool import controls_models
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.verification import verify
from tests.container_forms import in_container
from tests.engine import BASE, the_engine, wheels_to_build_from
from tests.serving import Served, start
from tests.tiny_container import LABEL

pytestmark = [pytest.mark.live, pytest.mark.docker]

ONNX, PYTORCH = ModelFormat.ONNX, ModelFormat.PYTORCH
SERVERS: dict[str, tuple[Stack, tuple[ModelFormat, ...]]] = {
    "fastapi-onnx": (Fastapi(), (ONNX,)),
    "fastapi-pytorch": (Fastapi(), (PYTORCH,)),
    "triton": (Triton(), (ONNX, PYTORCH)),
    "torchserve": (Torchserve(), (ONNX, PYTORCH)),
}
MINE = {LABEL: "test_docker_stacks"}
LOOK_INSIDE = """
import importlib.util, pathlib, shutil
print([name for name in ("pip", "fastapi_app", "engine", "imagenet") if importlib.util.find_spec(name)])
print([name for name in ("gcc", "pip", "pip3") if shutil.which(name)])
places = [pathlib.Path("/build"), pathlib.Path("/servebench"), *pathlib.Path("/root").glob(".cache")]
print([str(path) for path in places if path.exists()])
"""
ENGINE_SAID = {"triton": "serves with {}", "torchserve": "on {}"}
"""How a server's log names its engine."""


@dataclass(frozen=True, slots=True)
class Contained:
    """A server in a container, and what it was launched to serve."""

    server: Served
    deployments: tuple[Deployment, ...]
    engine: Any
    """The client of the engine that it runs in."""

    @property
    def facts(self) -> ContainerFacts:
        """Which container it is."""
        facts = self.server.running.endpoint.container
        assert facts is not None
        return facts

    def processes(self) -> list[psutil.Process]:
        """Return all that runs in it, as this machine sees it."""
        root = psutil.Process(self.server.pid)
        return [root, *root.children(recursive=True)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """Return a client of the engine; skip where there is none. No container of this file is left."""
    with the_engine() as client:
        yield client
        remove_all()
        left = client.containers.list(all=True, filters={"label": [f"{k}={v}" for k, v in MINE.items()]})
        assert left == []


@pytest.fixture(scope="module", params=[*SERVERS.values()], ids=[*SERVERS])
def contained(
    request: pytest.FixtureRequest,
    engine: Any,
    artifacts: dict[str, Artifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Contained]:
    """Bring each stack up in a container once; its image is built when it is missing."""
    stack, formats = request.param
    image = ImageChoice(base=BASE, wheels_path=wheels_to_build_from())
    deployments = tuple(deployment(stack, each) for each in formats)
    with start(
        in_container(stack, image),
        deployments,
        artifacts,
        tmp_path_factory.mktemp("a container's folder"),
        launcher=DockerLauncher(labels=MINE),
    ) as server:
        yield Contained(server, deployments, engine)


def deployment(stack: Stack, model_format: ModelFormat, max_batch_size: int = 8) -> Deployment:
    """Return the tiny model under one batch setting."""
    return Deployment(stack=stack.name, model="tiny", format=model_format, max_batch_size=max_batch_size)


def load(contained: Contained, served: Deployment) -> None:
    """Load it where the server has a control API; one without has it loaded."""
    if controls_models(contained.server.stack) is not None:
        contained.server.load(served)


def unload(contained: Contained, served: Deployment) -> None:
    """Undo `load`."""
    if controls_models(contained.server.stack) is not None:
        contained.server.unload(served)


def test_answers_are_the_models_own(
    contained: Contained, images: list[Image], logits: npt.NDArray[np.float32]
) -> None:
    """Tensors and JPEG files, over every protocol, are answered as the model in process answers them."""
    stack = contained.server.stack
    for served in contained.deployments:
        load(contained, served)
        for payload in (Payload.TENSOR, Payload.JPEG):
            for protocol in WireProtocol:
                if protocol in stack.protocols:
                    case = Case(deployment=served, payload=payload, protocol=protocol, items_per_request=3)
                    compared = verify(contained.server.ask(case, images[:3]), logits[:3], tolerance=1e-3)
                    assert (compared.compared, compared.mismatches) == (3, ())
        assert engine_named(contained, served)
        unload(contained, served)


def engine_named(contained: Contained, served: Deployment) -> bool:
    """Return whether the server itself names the engine that the description names."""
    backend = contained.server.stack.backend(served)
    if served.stack == "fastapi":
        return bool(json.loads(contained.server.get("/health").body)["backend"] == backend)
    engine = {ONNX: "onnxruntime CPUExecutionProvider", PYTORCH: "torch cpu"}[served.format]
    assert engine.split()[0] in backend
    return ENGINE_SAID[served.stack].format(engine) in contained.server.log()


def test_a_batch_setting_changes_in_the_same_container(contained: Contained, images: list[Image]) -> None:
    """A cap of 8 forms batches under 16 clients and a cap of 1 never does; the container stays."""
    stack, (served, *_) = contained.server.stack, contained.deployments
    if controls_models(stack) is None:
        assert batch_achieved(contained, served, images) > 1
        return
    before = contained.engine.api.inspect_container(contained.facts.id)["State"]
    for cap in (8, 1):
        setting = deployment(stack, served.format, cap)
        load(contained, setting)
        achieved = batch_achieved(contained, setting, images)
        assert 1 < achieved <= 8 if cap == 8 else achieved == 1
        unload(contained, setting)
    after = contained.engine.api.inspect_container(contained.facts.id)["State"]
    assert (after["Status"], after["StartedAt"]) == ("running", before["StartedAt"])


def batch_achieved(contained: Contained, served: Deployment, images: list[Image]) -> float:
    """Return the mean batch that 160 requests of 16 clients form."""
    requests = [contained.server.stack.encode(Case(deployment=served), [image]) for image in images] * 10
    replies, change = contained.server.counted_together(served, requests)
    assert {reply.status for reply in replies} == {200}
    assert change.images == 160
    assert change.executions
    return 160 / change.executions


def test_nobody_in_it_is_root(contained: Contained) -> None:
    """Every process in the container, children too, runs as the ordinary user of the record."""
    user = int(contained.facts.user.partition(":")[0])
    assert user
    assert {uid for process in contained.processes() for uid in process.uids()} == {user}


def test_its_folder_is_read_only(contained: Contained) -> None:
    """Neither the model nor the code can be changed from inside; the folder on this machine is as written."""
    container = contained.engine.containers.get(contained.facts.id)
    for user in ("root", ""):
        code, said = container.exec_run(["touch", "/servebench/new"], user=user)
        assert code != 0
        assert b"Read-only file system" in said
    assert not (contained.server.workdir / "new").exists()
    models = [path for path in contained.server.workdir.rglob("model.*") if path.suffix in {".onnx", ".pt"}]
    assert {path.suffix for path in models} == {
        {ONNX: ".onnx", PYTORCH: ".pt"}[one.format] for one in contained.deployments
    }
    assert not [path for path in models if path.is_symlink()]


def test_what_is_no_image_is_refused_and_nothing_falls(contained: Contained, images: list[Image]) -> None:
    """A broken JPEG is an error of its own request; the next one is answered."""
    served = contained.deployments[0]
    load(contained, served)
    case = Case(deployment=served, payload=Payload.JPEG)
    broken = Image(index=0, jpeg=images[0].jpeg[:200], tensor=images[0].tensor)
    assert contained.server.send(contained.server.stack.encode(case, [broken])).status >= 400
    assert contained.server.ask(case, images[:1])
    unload(contained, served)


def test_its_image_holds_neither_builder_nor_model(contained: Contained) -> None:
    """No pip, no compiler, no cache and nothing of ours is in the image."""
    # As root, who may look everywhere.
    said = contained.engine.containers.run(
        contained.facts.image_id, ["python3", "-c", LOOK_INSIDE], user="root", remove=True, labels=MINE
    )
    assert said.decode().split() == ["[]", "[]", "[]"]
