"""Deployments that one launch cannot serve together, and files that are made before a launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import pytest

from pytest_servebench.containers import ContainerImage, Preparation
from pytest_servebench.errors import LaunchError, ModelError, ServerExitedError
from pytest_servebench.plan import Artifact, Deployment, LaunchSpec
from pytest_servebench.testing.launcher import FakeLauncher
from tests.echo_house import ONNX, PYTORCH, EchoHouse, deployment
from tests.echo_stack import ControlledEcho

GROUPED = [deployment("grouped", *of) for of in product((ONNX, PYTORCH), (1, 8, 32))]


@dataclass(frozen=True, kw_only=True)
class GroupedEcho(ControlledEcho):
    """A launch of it serves one format only."""

    name: str = "grouped"

    def launch_group(self, deployment: Deployment) -> str:
        """Return the format."""
        return str(deployment.format)


def test_a_launch_serves_its_group_and_another_group_needs_another() -> None:
    """Models of one group are loaded into the running server; the next group's server takes its place."""
    planned = GROUPED
    house = EchoHouse(stacks=[GroupedEcho()], planned=planned)
    for one in planned:
        house.pool.ready(one)
    assert house.pool.starts == ["grouped"] * 2
    assert len(house.launcher.running) == 1


def test_a_group_that_does_not_come_up_is_not_another_groups_trouble() -> None:
    """Its error is remembered for its own deployments alone."""
    house = EchoHouse(stacks=[GroupedEcho()], planned=GROUPED)
    house.launcher.exits_with = 3
    for batch in (1, 8):
        with pytest.raises(ServerExitedError):
            house.pool.ready(deployment("grouped", ONNX, batch))
    assert len(house.launcher.specs) == 1
    house.launcher.exits_with = None
    house.pool.ready(deployment("grouped", PYTORCH))


@dataclass(frozen=True, kw_only=True)
class PreparedEcho(ControlledEcho):
    """It serves what is made of an ONNX file; of PyTorch it can serve none."""

    name: str = "prepared"

    def preparation(self, deployment: Deployment, artifact: Artifact) -> Preparation | None:
        """Return what is to be made for batches, and nothing for a cap of one."""
        if deployment.format is PYTORCH:
            raise ModelError("no", next_step="serve onnx")
        if deployment.max_batch_size == 1:
            return None
        return Preparation(
            name=f"b{deployment.max_batch_size}",
            image=ContainerImage(name="tiny:1"),
            argv=("build",),
            source=artifact.path,
            source_sha256=artifact.sha256,
            product="model.plan",
            next_step="read its log",
        )

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return a launch that names the files that it is given."""
        spec = super().launch_spec(deployments, artifacts)
        return replace(spec, argv=tuple(sorted(str(each.path) for each in artifacts.values())))


@dataclass(slots=True, kw_only=True)
class PreparingLauncher(FakeLauncher):
    """Makes nothing, and names it after what was asked for."""

    asked: list[str] = field(default_factory=list)
    fails: bool = False

    def prepare(self, stack: str, preparation: Preparation) -> Path:
        """Return a place in no folder."""
        self.asked.append(f"{stack} {preparation.name}")
        if self.fails:
            raise LaunchError("no GPU", next_step="buy one")
        return Path("made", preparation.name, preparation.product)


def test_what_a_stack_serves_is_made_before_its_launch() -> None:
    """The launch is described with the made file in the artifact's place; other deployments' is theirs."""
    launcher = PreparingLauncher()
    planned = [deployment("prepared", ONNX, 8), deployment("prepared", PYTORCH, 8)]
    house = EchoHouse(stacks=[PreparedEcho()], launcher=launcher, planned=planned)
    house.pool.ready(planned[0])
    assert launcher.specs[0].argv == (str(Path("made", "b8", "model.plan")),)
    assert set(launcher.asked) == {"prepared b8"}
    with pytest.raises(ModelError, match="no"):
        house.pool.ready(planned[1])


def test_nothing_is_made_where_nothing_is_needed_or_nobody_can() -> None:
    """A stack that says None is served from the artifact, as is every stack by a launcher without tools."""
    launcher = PreparingLauncher()
    one = deployment("prepared", ONNX, 1)
    EchoHouse(stacks=[PreparedEcho()], launcher=launcher).pool.ready(one)
    assert launcher.asked == []
    plain = EchoHouse(stacks=[PreparedEcho()])
    plain.pool.ready(deployment("prepared", ONNX, 8))
    assert "model.plan" not in "".join(plain.launcher.specs[0].argv)


def test_what_cannot_be_made_is_not_tried_again() -> None:
    """A build that fails takes minutes: its error is raised at once for the next case."""
    launcher = PreparingLauncher(fails=True)
    house = EchoHouse(stacks=[PreparedEcho()], launcher=launcher)
    for _ in range(2):
        with pytest.raises(LaunchError, match="no GPU"):
            house.pool.ready(deployment("prepared", ONNX, 8))
    assert launcher.asked == ["prepared b8"]
