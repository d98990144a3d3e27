"""The command ``servebench`` with tools of a test's: a model, images, compose, servers that answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from pytest_servebench.compose import project as books
from pytest_servebench.compose.project import STATE_VARIABLE
from pytest_servebench.compose.tools import Tools
from pytest_servebench.launchers.docker.engine import EngineFacts
from pytest_servebench.launchers.readiness import ProbeAnswer
from pytest_servebench.plan import Artifact, ModelFormat
from tests.compose_stand_in import Stand, stand_in
from tests.jumping_clock import JumpingClock
from tests.tiny_model import CARD


@dataclass(frozen=True, slots=True)
class Command:
    """The command, run in this process with tools of the test's."""

    tools: Tools
    stand: Stand
    state: Path

    def __call__(self, *words: str, **changes: Any) -> Result:
        """Return how a call ended; ``changes`` are of the tools."""
        return CliRunner().invoke(main, list(words), obj=replace(self.tools, **changes))

    def project(self, name: str = "servebench") -> books.Project:
        """Return what is known of a project that is up."""
        known = books.find(name, self.state)
        assert known is not None
        return known


def command_in(tmp_path: Path) -> Command:
    """Return the command where everything is there: a model, images, compose, servers that answer."""
    stand = stand_in(tmp_path / "bin")
    model = tmp_path / "model"
    model.mkdir()
    for name, text in (("model.onnx", "onnx"), ("card.json", json.dumps(CARD)), ("labels.json", "[]")):
        (model / name).write_text(text, encoding="utf-8")
    artifact = Artifact(
        model="resnet50",
        format=ModelFormat.ONNX,
        path=model / "model.onnx",
        card_path=model / "card.json",
        labels_path=model / "labels.json",
        sha256="",
        weights="",
    )
    state = tmp_path / "state"
    tools = Tools(
        environment={
            STATE_VARIABLE: str(state),
            "PATH": str(stand.path.parent),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
        },
        say=click.echo,
        artifact=lambda _: artifact,
        image=lambda image, _: f"{image.name}:here",
        engine=lambda _: EngineFacts(version="20.10"),
        volumes=lambda *_: (),
        remove_volumes=lambda *_: (),
        port_taken=lambda _: False,
        clock=JumpingClock(),
        probe=lambda *_: ProbeAnswer(200, "OK"),
    )
    return Command(tools, stand, state)
