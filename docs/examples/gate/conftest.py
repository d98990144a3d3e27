"""The stack `mine`: how handler.py is launched, asked and understood."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import AnswerError
from pytest_servebench.interfaces import ServerCounters, Stack
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
    WorkFile,
)
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply


@dataclass(frozen=True)
class Mine:
    """A Python process that gets its model as a file and its port on the command line."""

    name: str = "mine"
    formats: frozenset[ModelFormat] = frozenset({ModelFormat.ONNX})
    payloads: frozenset[Payload] = frozenset({Payload.TENSOR})
    protocols: frozenset[WireProtocol] = frozenset({WireProtocol.HTTP})

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what has to be installed first: nothing."""
        return ()

    def backend(self, deployment: Deployment) -> str:
        """Return the engine inside the server."""
        return "onnxruntime CPUExecutionProvider"

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return the command line and the files of the server."""
        (deployment,) = deployments
        return LaunchSpec(
            name="mine",
            argv=(sys.executable, "handler.py", "${host}", "${http_port}"),
            files=(
                WorkFile(path="handler.py", source=Path(__file__).with_name("handler.py")),
                WorkFile(path="model.onnx", source=artifacts[deployment.served_name].path),
            ),
            ready=ReadyCheck(path="/ready"),
        )

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return a POST of the images' pixels."""
        pixels = np.stack([image.tensor for image in images]).astype("<f4")
        return WireRequest(
            protocol=WireProtocol.HTTP,
            path="/",
            body=pixels.tobytes(),
            image_indexes=tuple(image.index for image in images),
        )

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return the answer for each image: its classes, the best first, and the scores."""
        if reply.status != 200:
            raise AnswerError("no scores", where="POST /", seen=f"HTTP {reply.status}")
        return tuple(_answer(row) for row in np.frombuffer(reply.body, "<f4").reshape(-1, 1000))

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        """Return None: this server counts nothing."""
        return None

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return nothing counted."""
        return ServerCounters()


def _answer(scores: npt.NDArray[np.float32]) -> Answer:
    best = np.argsort(-scores)[:5]
    confidences = np.exp(scores[best] - scores.max()) / np.exp(scores - scores.max()).sum()
    return Answer(tuple(best.tolist()), tuple(confidences.tolist()), scores)


def pytest_servebench_stacks() -> Sequence[Stack]:
    """Offer it as --stack=mine."""
    return (Mine(),)
