"""A stack that only says what it offers and what it lacks, for tests of plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_servebench.containers import ImageChoice
from pytest_servebench.interfaces import ServerCounters, Stack
from pytest_servebench.plan import (
    Artifact,
    Case,
    Decoder,
    Deployment,
    Device,
    Image,
    LaunchSpec,
    MissingPiece,
    ModelFormat,
    Payload,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Answer
from pytest_servebench.samples import Reply

ONNX, PYTORCH, TENSORRT = ModelFormat
TENSOR, JPEG, UINT8, SHM, CUDASHM = Payload
HTTP, GRPC = WireProtocol


@dataclass(frozen=True)
class BareStack:
    """Offers what it is told to, as a local process only; serving is not its trade."""

    name: str
    formats: frozenset[ModelFormat] = frozenset({ONNX, PYTORCH})
    payloads: frozenset[Payload] = frozenset({TENSOR, JPEG})
    protocols: frozenset[WireProtocol] = frozenset({HTTP})
    decoders: frozenset[Decoder] = frozenset({Decoder.PILLOW})
    lacks: Mapping[ModelFormat, MissingPiece] = field(default_factory=dict)

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        return tuple(self.lacks[one] for one in formats if one in self.lacks)

    def backend(self, deployment: Deployment) -> str:
        raise NotImplementedError

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        raise NotImplementedError

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        raise NotImplementedError

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        raise NotImplementedError

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        raise NotImplementedError

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        raise NotImplementedError


@dataclass(frozen=True)
class OfferedStack(BareStack):
    """Comes as a container too, which has within what it lacks outside."""

    decoders_inside: frozenset[Decoder] = frozenset({Decoder.PILLOW})

    def in_container(self, choice: ImageChoice, device: Device) -> Stack:
        return replace(self, lacks={}, decoders=self.decoders_inside)


FASTAPI = OfferedStack("fastapi")
TRITON = OfferedStack(
    "triton",
    formats=frozenset({ONNX, PYTORCH, TENSORRT}),
    protocols=frozenset({HTTP, GRPC}),
)
TORCHSERVE = OfferedStack("torchserve")
THREE: Mapping[str, OfferedStack] = {stack.name: stack for stack in (FASTAPI, TRITON, TORCHSERVE)}
