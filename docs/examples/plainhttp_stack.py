"""A fourth stack in one file: how `plainhttp_server.py` is launched, asked and understood."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
    WorkFile,
)
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply

SERVER = Path(__file__).with_name("plainhttp_server.py")
CLASSES = 1000


@dataclass(frozen=True)
class PlainHttp:
    """The stack ``plainhttp``."""

    name: str = "plainhttp"
    formats: frozenset[ModelFormat] = frozenset({ModelFormat.ONNX})
    payloads: frozenset[Payload] = frozenset({Payload.TENSOR})
    protocols: frozenset[WireProtocol] = frozenset({WireProtocol.HTTP})

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return the packages that the server imports and that are not installed."""
        if importlib.util.find_spec("onnxruntime"):
            return ()
        return (MissingPiece(what="the package onnxruntime", remedy="pip install onnxruntime"),)

    def backend(self, deployment: Deployment) -> str:
        """Return the engine inside the server."""
        return "onnxruntime CPUExecutionProvider"

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return the command line and the files of a server for the one deployment."""
        (deployment,) = deployments
        return LaunchSpec(
            name=f"plainhttp-{deployment.served_name}",
            argv=(
                *(sys.executable.replace("$", "$$"), "server.py", "--model", "model.onnx"),
                *("--host", "${host}", "--port", "${http_port}"),
                *("--threads", str(deployment.threads)),
            ),
            files=(
                WorkFile(path="server.py", source=SERVER),
                WorkFile(path="model.onnx", source=artifacts[deployment.served_name].path),
            ),
            ready=ReadyCheck(path="/ready"),
        )

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return a POST of the images' pixels, one image after the other."""
        return WireRequest(
            protocol=WireProtocol.HTTP,
            path="/infer",
            body=np.stack([image.tensor for image in images]).astype("<f4").tobytes(),
            headers=(("Content-Type", "application/octet-stream"),),
            image_indexes=tuple(image.index for image in images),
        )

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return an answer per image from its row of logits; raises `AnswerError`."""
        expected_bytes = case.items_per_request * CLASSES * 4
        if reply.status != 200 or len(reply.body) != expected_bytes:
            raise AnswerError(
                "plainhttp did not answer with logits",
                where=f"{case.id}, POST /infer",
                seen=f"HTTP {reply.status}, {len(reply.body)} bytes: {reply.body[:100]!r}",
                next_step=f"expected HTTP 200 and {expected_bytes} bytes; see the server's log",
            )
        rows = np.frombuffer(reply.body, "<f4").reshape(-1, CLASSES)
        return tuple(_answer(row) for row in rows)

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        """Return the request that reads the server's counters."""
        return WireRequest(protocol=WireProtocol.HTTP, method="GET", path="/counters", body=b"")

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return them; raises `AnswerError`."""
        try:
            counts = json.loads(reply.body)
            return ServerCounters(images=float(counts["images"]), executions=float(counts["executions"]))
        except (ValueError, KeyError, TypeError) as error:
            raise AnswerError("plainhttp's counters cannot be read", seen=repr(reply.body[:100])) from error


def _answer(logits: npt.NDArray[np.float32]) -> Answer:
    with np.errstate(invalid="ignore"):  # logits that are no numbers are for the verification to find
        exponentials = np.exp(logits - logits.max())
        best = np.argsort(-logits, kind="stable")[:5]
        confidences = exponentials[best] / exponentials.sum()
    return Answer(tuple(best.tolist()), tuple(confidences.tolist()), logits)
