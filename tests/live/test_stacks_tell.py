"""The three real servers say what they compute with, and are found out when that is not what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path

import pytest

from pytest_servebench.as_asked import not_as_asked
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.attach import AttachedServer
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Device,
    Image,
    LauncherKind,
    ModelFormat,
    Payload,
    Precision,
)
from pytest_servebench.pool import controls_models
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.told import told_by
from tests.serving import Served, start

pytestmark = pytest.mark.live

ENGINES = {
    ModelFormat.ONNX: ("onnxruntime", "CPUExecutionProvider"),
    ModelFormat.PYTORCH: ("torch", "libtorch"),
}
STACKS: tuple[Stack, ...] = (Fastapi(), Triton(), Torchserve())


@dataclass(frozen=True)
class Up:
    """A stack's server with one model in it, asked once."""

    server: Served
    deployment: Deployment


@pytest.fixture(scope="module", params=product(STACKS, ENGINES), ids=lambda both: f"{both[0].name}-{both[1]}")
def up(
    request: pytest.FixtureRequest,
    artifacts: dict[str, Artifact],
    images: list[Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Up]:
    """One server of each stack for each format."""
    stack, model_format = request.param
    deployment = Deployment(stack=stack.name, model="tiny", format=model_format, threads=1)
    with (
        start(stack, [deployment], artifacts, tmp_path_factory.mktemp("work")) as server,
        server.loaded(deployment) if controls_models(stack) else nullcontext(),
    ):
        server.ask(Case(deployment=deployment, payload=Payload.TENSOR), images[:1])
        yield Up(server, deployment)


def test_engine_version_provider_and_device_are_as_they_are(up: Up) -> None:
    """The server's own word: the version that is installed, and the CPU that this machine has."""
    served = told_by(up.server.running, up.server.stack, up.deployment, LoadDriver())
    engine, provider = ENGINES[up.deployment.format]
    assert served.absent == ""
    assert (served.engine, served.provider, served.device) == (
        f"{engine} {version(engine)}",
        provider,
        "cpu",
    )
    assert served.precision in {None, "fp32"}
    assert served.warnings == ()
    assert not_as_asked(up.deployment, served) == ()


def test_what_was_asked_for_a_gpu_is_found_on_the_cpu(up: Up) -> None:
    """As if it had been asked for one, and had fallen back without a word."""
    asked = replace(up.deployment, device=Device("cuda"))
    served = told_by(up.server.running, up.server.stack, asked, LoadDriver())
    (fault,) = not_as_asked(asked, served)
    assert fault.startswith(f"asked for cuda:0, but {served.engine} computes on ")
    assert fault.endswith(("CPUExecutionProvider", "cpu"))
    if served.precision is not None:
        half = replace(up.deployment, precision=Precision.FP16)
        assert not_as_asked(half, served) == (f"asked for fp16, but {served.engine} computes in fp32",)


@pytest.mark.parametrize("model_format", ENGINES, ids=str)
def test_a_real_fall_back_is_found_out(
    artifacts: dict[str, Artifact], images: list[Image], work: Path, model_format: ModelFormat
) -> None:
    """A server that is asked for a GPU, sees none and may take the CPU comes up, and says so itself."""
    asked = Deployment(stack="fastapi", model="tiny", format=model_format, device=Device("cuda"))
    allowed = {"SERVEBENCH_CPU_FALLBACK": "true", "CUDA_VISIBLE_DEVICES": ""}
    with start(Fastapi(), [asked], artifacts, work, environment=allowed) as server:
        server.ask(Case(deployment=asked), images[:1])
        served = told_by(server.running, server.stack, asked, LoadDriver())
    (fault,) = not_as_asked(asked, served)
    assert fault.startswith(f"asked for cuda:0, but {served.engine} computes on ")
    assert served.engine


def test_a_server_of_somebody_elses_is_asked_too(up: Up) -> None:
    """Whoever launched it, it says the same; only Triton with the Python backend says it in its log alone."""
    endpoint = replace(up.server.running.endpoint, launcher=str(LauncherKind.ATTACH), log_path=None, pid=None)
    served = told_by(AttachedServer(endpoint), up.server.stack, up.deployment, LoadDriver())
    if up.deployment.stack == "triton":
        assert served.absent == "Triton's Python backend says it in its log, which is not ours to read"
    else:
        assert (served.device, served.absent) == ("cpu", "")


def test_a_model_that_is_not_there_is_no_error(up: Up) -> None:
    """What a server does not know it does not tell, and the record says what came in its place."""
    other = replace(up.deployment, model="nobody")
    served = told_by(up.server.running, up.server.stack, other, LoadDriver())
    if up.deployment.stack == "fastapi":
        assert served.device == "cpu", "it has one model, and is not asked for it by name"
    else:
        assert "was answered with status 4" in served.absent
