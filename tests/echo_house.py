"""The rooms of a session with fakes in them: echo stacks without a process, on fake time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from pytest_servebench.errors import LoadError
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Load,
    ModelFormat,
    WireRequest,
)
from pytest_servebench.pool import ServerPool
from pytest_servebench.readings import Readings
from pytest_servebench.results import Endpoint, Progress, Telemetry
from pytest_servebench.rooms import Rooms
from pytest_servebench.samples import Reply
from pytest_servebench.testing.clock import FakeClock
from pytest_servebench.testing.driver import FakeDriver
from pytest_servebench.testing.launcher import FakeLauncher, FakeServer
from tests.echo_stack import ControlledEcho, Echo, echo_artifact, echo_images, echo_reference

UNREAD = Readings(progress=lambda _progress: None, over=lambda _window: Telemetry())
"""Readings of nothing."""
ONNX, PYTORCH = ModelFormat.ONNX, ModelFormat.PYTORCH


def deployment(
    stack: str = "echo", model_format: ModelFormat = ONNX, batch: int = 8, model: str = "resnet50"
) -> Deployment:
    """Return a deployment."""
    return Deployment(stack=stack, model=model, format=model_format, max_batch_size=batch)


def case(of: Deployment | None = None, items: int = 1, concurrency: int = 1) -> Case:
    """Return a case whose load lasts a second after a tenth of warm-up."""
    load = Load(concurrency=concurrency, warmup_s=0.1, duration_s=1.0)
    return Case(deployment=of or deployment(), items_per_request=items, load=load)


class Onlooker:
    """Watches, and sees how often it was told."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def server_gone(self) -> str | None:
        return None


@dataclass
class EchoHouse:
    """Stacks, one launcher for all of them, a driver, and what they were asked."""

    stacks: Sequence[Echo] = (Echo(), ControlledEcho())
    launcher: FakeLauncher = field(default_factory=FakeLauncher)
    planned: Sequence[Deployment] = ()
    attached: Sequence[str] = ()
    answers: Callable[[list[int]], Reply] | None = None
    """What the server makes of the images it was asked for; None: the right thing."""
    says: Callable[[], Reply] = lambda: Reply(200, {}, b"null")
    """What the server says that it computes with."""
    refuses: Sequence[str] = ()
    """Paths of commands that are refused."""
    clock: FakeClock = field(default_factory=FakeClock)
    artifact: Callable[[Deployment], Artifact] = lambda one: echo_artifact(one.model, one.format)
    commands: list[str] = field(default_factory=list)
    asked: int = 0
    held: list[str] = field(default_factory=list)
    """What was held for which case, in order."""
    holding: str = ""
    """What is held now."""
    waiting_s: float = 0.0
    """How long each of these is waited for."""

    def __post_init__(self) -> None:
        self.driver = FakeDriver(answering=self.answer, clock=self.clock)
        self.pool = ServerPool(
            stacks={stack.name: stack for stack in self.stacks},
            launchers={stack.name: self.launcher for stack in self.stacks},
            driver=self.driver,
            clock=self.clock,
            artifact=self.artifact,
            deployments=self.planned,
            folder=Path("nowhere"),
            attached=self.attached,
        )
        self.rooms = Rooms(
            stacks={stack.name: stack for stack in self.stacks},
            driver=self.driver,
            clock=self.clock,
            artifact=self.artifact,
            images=lambda _, count: echo_images(count),
            reference=lambda _, images: echo_reference(images),
            telemetry=lambda _endpoint, _deployment: nullcontext(UNREAD),
            starting=lambda case: self._holding(f"starting {case.id}"),
            measuring=lambda case: self._holding(f"measuring {case.id}"),
        )

    @property
    def server(self) -> FakeServer:
        """The server launched last."""
        return self.launcher.servers[-1]

    def answer(self, endpoint: Endpoint, request: WireRequest) -> Reply:
        """Answer as echo servers do; one that is not running answers nobody."""
        (server,) = (one for one in self.launcher.servers if one.endpoint is endpoint)
        if server not in self.launcher.running:
            raise LoadError("A request was not answered.", seen="connection refused")
        if request.path == "/served":
            return self.says()
        if not request.path.startswith("/infer"):
            self.commands.append(request.path)
            return Reply(400 if request.path in self.refuses else 200, {}, b"no room")
        self.asked += 1
        images = json.loads(request.body)
        return self.answers(images) if self.answers else said(images)

    @contextmanager
    def _holding(self, what: str) -> Iterator[float]:
        assert not self.holding, "one at a time: nobody upgrades"
        self.held.append(what)
        self.holding = what
        try:
            yield self.waiting_s
        finally:
            self.holding = ""


def said(images: object, status: int = 200) -> Reply:
    """Return the reply that names these images."""
    return Reply(status, {}, json.dumps(images).encode())


__all__ = ["ONNX", "PYTORCH", "EchoHouse", "Onlooker", "case", "deployment", "said"]
