"""A stack whose real server says which images it was asked for, so that a whole session runs in a second.

Its reference outputs are drawn from a seed by the image's index: no model is exported or run. `furnish`
puts them, and images of no size, in the place of the real models.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench import ceiling, raw_baseline, session
from pytest_servebench.errors import AnswerError
from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Image,
    LaunchSpec,
    MissingPiece,
    ModelFormat,
    Payload,
    ReadyCheck,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Answer, Served
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.facts import json_of, served_of

SERVER = Path(__file__).with_name("echo_server.py")
TAG_VARIABLE = "SERVEBENCH_ECHO_TAG"
"""Its text becomes an argument of every server, to find it by."""
MOST_IMAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How a server misbehaves; by default it does not."""

    exits_at_start: bool = False
    never_ready: bool = False
    delay_s: float = 0.005
    """How long it computes."""
    only: str = ""
    """Served name of the model that the faults below are for; empty: all."""
    wrong_image: int | None = None
    """Answered as if it were none; -1: each of them is."""
    wrong_after: int = 0
    """Requests before the first wrong answer."""
    mixes_up: bool = False
    """Gives the images of a request each other's answers."""
    dies_after: int | None = None
    hangs_after: int | None = None
    fails_every: int = 0
    """One request in so many is answered with 500."""
    refuses: str = ""
    """Served name of a model that it refuses to load."""
    says: str = ""
    """What it says that it computes with, as JSON, true or not; empty: nothing. For `TellingEcho`."""
    journal: str = ""
    """Folder in which every server writes what happened when, see `echo_server.Journal`; empty: none does."""
    start_together: int = 0
    """Not ready before so many servers have started."""


@dataclass(frozen=True, kw_only=True)
class Echo:
    """Started with one model; satisfies `interfaces.Stack`."""

    name: str = "echo"
    formats: frozenset[ModelFormat] = frozenset({ModelFormat.ONNX, ModelFormat.PYTORCH})
    payloads: frozenset[Payload] = frozenset({Payload.TENSOR})
    protocols: frozenset[WireProtocol] = frozenset({WireProtocol.HTTP})
    faults: Faults = field(default_factory=Faults)
    deadline_s: float = 10.0
    lacks: tuple[MissingPiece, ...] = ()

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        return self.lacks

    def backend(self, deployment: Deployment) -> str:
        return "echo of the images' numbers"

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        names = [deployment.served_name for deployment in deployments]
        assert set(names) <= set(artifacts)
        return self._spec(names)

    def _spec(self, loaded: Sequence[str]) -> LaunchSpec:
        settings = json.dumps({**asdict(self.faults), "models": list(loaded)})
        tag = os.environ.get(TAG_VARIABLE, "untagged")
        return LaunchSpec(
            name=self.name,
            argv=(sys.executable, "-I", "-S", str(SERVER), "${host}:${http_port}", settings, tag),
            ready=ReadyCheck(path="/ready", deadline_s=self.deadline_s),
            stop_grace_s=2.0,
        )

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        return WireRequest(
            protocol=WireProtocol.HTTP,
            path=f"/infer/{case.deployment.served_name}",
            body=json.dumps([image.index for image in images]).encode(),
        )

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        try:
            indexes = [int(one) for one in json.loads(reply.body)]
        except (ValueError, TypeError) as error:
            raise AnswerError("not a list of numbers", seen=str(reply.body)) from error
        return tuple(_answer(index) for index in indexes)

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        return WireRequest(protocol=WireProtocol.HTTP, method="GET", path="/counters", body=b"")

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        return ServerCounters(**json.loads(reply.body))


@dataclass(frozen=True, kw_only=True)
class ControlledEcho(Echo):
    """Started without a model; loads and unloads on command. Satisfies `interfaces.ModelControl` too."""

    name: str = "controlled"

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        assert {deployment.served_name for deployment in deployments} <= set(artifacts)
        return self._spec([])

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        return (_command("load", deployment),)

    def unload_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        return (_command("unload", deployment),)


@dataclass(frozen=True, kw_only=True)
class TellingEcho(Echo):
    """Says what it computes with, see `Faults.says`. Satisfies `interfaces.Telling` too."""

    name: str = "telling"

    def served_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        return (WireRequest(protocol=WireProtocol.HTTP, method="GET", path="/served", body=b""),)

    def served(self, deployment: Deployment, replies: Sequence[Reply], log: str) -> Served:
        return served_of(json_of(replies[0].body), "GET /served")


def _command(word: str, deployment: Deployment) -> WireRequest:
    return WireRequest(protocol=WireProtocol.HTTP, path=f"/{word}/{deployment.served_name}", body=b"")


def _answer(index: int) -> Answer:
    logits = echo_logits()[index] if index >= 0 else np.zeros(1000, dtype=np.float32)
    return Answer(class_ids=(int(logits.argmax()),), confidences=(1.0,), logits=logits)


@cache
def echo_logits() -> npt.NDArray[np.float32]:
    """Return the reference of every image, float32 [MOST_IMAGES, 1000]."""
    return np.random.default_rng(5).normal(size=(MOST_IMAGES, 1000)).astype(np.float32)


def echo_images(count: int) -> tuple[Image, ...]:
    """Return so many images that hold nothing but their index."""
    nothing = np.zeros((3, 1, 1), dtype=np.float32)
    return tuple(Image(index=i, jpeg=b"", tensor=nothing, name=f"image-{i}") for i in range(count))


def echo_reference(images: Sequence[Image]) -> npt.NDArray[np.float32]:
    """Return the reference of ``images``."""
    return echo_logits()[[image.index for image in images]]


def echo_artifact(model: str, model_format: ModelFormat) -> Artifact:
    """Return an artifact of files that are not there."""
    return Artifact(
        model=model,
        format=model_format,
        path=Path("nowhere/model"),
        card_path=Path("nowhere/card.json"),
        labels_path=Path("nowhere/labels.json"),
        sha256="0" * 64,
        weights="echo",
    )


def echo_computed(_deployment: Deployment, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what echo's model would do in process: some hundred images a second."""
    return [
        {"batch_size": size, "images_per_s": 400.0, "batches": 5, "computed_s": size / 80, "engine": "echo"}
        for size in asked["batch_sizes"]
    ]


def furnish(config: pytest.Config) -> None:
    """Put echo's models in the place of the real ones, for as long as ``config`` is in use."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        session, "artifact", lambda model, model_format, _cache, **_kind: echo_artifact(model, model_format)
    )
    patch.setattr(session, "reference_logits", lambda _onnx, images: echo_reference(images))
    patch.setattr(session, "image_set", lambda _name, _card, count, _seed: echo_images(count))
    patch.setattr(raw_baseline, "computed", echo_computed)
    # Enough to have been measured; every session of a test has to wait for it.
    patch.setattr(ceiling, "WINDOW_S", 0.1)
    session._image_set.cache_clear()
    config.add_cleanup(session._image_set.cache_clear)
    config.add_cleanup(patch.undo)
