"""A stack that is kept running has its model from the start, and all its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pytest_servebench.compose.kept import kept_up
from pytest_servebench.compose.override import service_of
from pytest_servebench.compose.preparing import kept_spec
from pytest_servebench.compose.services import STACKS
from pytest_servebench.containers import Container, ContainerImage, ImageChoice
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Containerised, Stack
from pytest_servebench.plan import CPU, Artifact, Deployment, LaunchSpec, ModelFormat, ReadyCheck
from pytest_servebench.stacks import built_in_stacks

ARTIFACT = Artifact(
    model="resnet50",
    format=ModelFormat.PYTORCH,
    path=Path("model.pt"),
    card_path=Path("card.json"),
    labels_path=Path("labels.json"),
    sha256="",
    weights="",
)


def contained(name: str) -> Stack:
    """Return a built-in stack as a container."""
    (stack,) = (one for one in built_in_stacks() if one.name == name)
    return cast("Containerised", stack).in_container(ImageChoice(), CPU)


def deployment(name: str, batch: int = 16) -> Deployment:
    """Return a deployment of the stack."""
    return Deployment(stack=name, model="resnet50", format=ModelFormat.PYTORCH, max_batch_size=batch)


def texts(spec: LaunchSpec) -> dict[str, str]:
    """Return the texts of a spec's files."""
    return {file.path: file.text for file in spec.files if file.text is not None}


def test_fastapi_is_launched_as_it_is() -> None:
    """Its server starts with its model anyway."""
    stack = contained("fastapi")
    spec = stack.launch_spec([deployment("fastapi")], {"resnet50_pytorch": ARTIFACT})
    assert kept_up(stack, spec, deployment("fastapi")) == spec


def test_triton_loads_its_repository_and_shows_all() -> None:
    """No model waits to be asked for; GPU metrics and summaries are on, which a benchmark does without."""
    stack = contained("triton")
    before = stack.launch_spec([deployment("triton")], {"resnet50_pytorch": ARTIFACT})
    after = kept_spec(stack, deployment("triton"), ARTIFACT)
    assert set(before.argv) - set(after.argv) == {
        "--model-control-mode=explicit",
        "--allow-cpu-metrics=false",
        "--allow-gpu-metrics=false",
    }
    assert set(after.argv) - set(before.argv) == {
        "--model-control-mode=none",
        "--allow-cpu-metrics=true",
        "--allow-gpu-metrics=true",
        "--metrics-config=summary_latencies=true",
    }


def test_torchserve_registers_its_archive() -> None:
    """Its configuration loads the archive under the batch setting that the management API would be told."""
    stack, wanted = contained("torchserve"), deployment("torchserve")
    spec = kept_spec(stack, wanted, ARTIFACT)
    (line,) = (each for each in texts(spec)["config.properties"].splitlines() if "load_models" in each)
    name, archive = line.removeprefix("load_models=").split("=")
    assert name == "resnet50_pytorch"
    settings = yaml.safe_load(texts(spec)[f"store/{archive}/model-config.yaml"])
    assert (settings["batchSize"], settings["maxBatchDelay"]) == (16, 2)
    assert (settings["minWorkers"], settings["maxWorkers"]) == (1, 1)
    assert settings["handler"]["threads"] == wanted.threads


def test_a_stack_that_must_be_told_to_load_cannot_be_kept() -> None:
    """Somebody's own stack with a control API is refused: after a restart nobody would load its model."""

    class Controlled:
        name = "mine"

        def load_requests(self) -> None: ...

        def unload_requests(self) -> None: ...

    spec = LaunchSpec(name="mine", argv=("x",), ready=ReadyCheck(path="/"))
    with pytest.raises(PlanError, match="mine cannot be kept running") as raised:
        kept_up(cast("Any", Controlled()), spec, deployment("mine"))
    assert "fastapi, triton, torchserve" in raised.value.next_step


@dataclass(frozen=True)
class Words:
    """A spec whose every text holds what compose and placeholders could take for theirs."""

    entrypoint: bool

    @property
    def spec(self) -> LaunchSpec:
        """How it is launched."""
        return LaunchSpec(
            name="x",
            argv=("sh", "-c", "echo $$HOME ${http_port} ${workdir}"),
            port_roles=("http", "metrics"),
            environment={"A": "$$5 at ${host}:${metrics_port}"},
            ready=ReadyCheck(path="/"),
            container=Container(
                image=ContainerImage(name="x"),
                scratch=("tmp", "/tmp"),
                image_entrypoint=self.entrypoint,
            ),
        )


def test_compose_is_told_what_the_launcher_would_tell() -> None:
    """Placeholders stand for what the server sees; a dollar that is left is one for compose, too."""
    service = service_of(STACKS["torchserve"], Words(entrypoint=False).spec, "image:1", (7, 8))
    assert service["entrypoint"] == ["sh"]
    assert service["command"] == ["-c", "echo $$HOME 8080 /servebench"]
    assert service["environment"] == {"A": "$$5 at 0.0.0.0:8081"}
    assert [each.split(":")[0] for each in service["tmpfs"]] == ["/servebench/tmp", "/tmp"]
    assert all(each.endswith("uid=7,gid=8") for each in service["tmpfs"])


def test_an_entry_point_of_the_image_is_kept() -> None:
    """Where the image's own entry point is given the command, it is not replaced."""
    service = service_of(STACKS["triton"], Words(entrypoint=True).spec, "image:1", (7, 8))
    assert "entrypoint" not in service
    assert service["command"][0] == "sh"
