"""Triton as it is asked, wherever it runs: requests, replies, counters, models unloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from pytest_servebench.choices import SHARED_PAYLOADS
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.plan import (
    Case,
    Decoder,
    Deployment,
    Image,
    MissingPiece,
    ModelFormat,
    Payload,
    ReadyCheck,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Answer, Served
from pytest_servebench.samples import Reply
from pytest_servebench.sharing.shared_requests import SharedRequests
from pytest_servebench.stacks import triton_served, triton_shared_memory, triton_wire
from pytest_servebench.stacks.triton_repository import ServedNames, model_names
from pytest_servebench.stacks.triton_wheel import INSTALL

PORT_ROLES = ("http", "grpc", "metrics")
READY = ReadyCheck(path="/v2/health/ready")
FLAGS = (
    "--model-control-mode=explicit",
    # The configurations are complete; completing them would start each stub twice.
    "--disable-auto-complete-config",
    "--http-address=${host}",
    "--http-port=${http_port}",
    "--grpc-address=${host}",
    "--grpc-port=${grpc_port}",
    "--metrics-address=${host}",
    "--metrics-port=${metrics_port}",
    # Its own sampling of the devices runs beside the load and holds the exit up for 2 s.
    "--allow-cpu-metrics=false",
    "--allow-gpu-metrics=false",
    "--exit-timeout-secs=5",
)
"""What every server is told, but where its models and its backends are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedTriton:
    """What is the same of the stack ``triton`` as a local process and in a container."""

    name: str = "triton"
    formats: frozenset[ModelFormat] = frozenset(ModelFormat)
    payloads: frozenset[Payload] = frozenset(Payload)
    protocols: frozenset[WireProtocol] = frozenset(WireProtocol)

    @property
    def decoders(self) -> frozenset[Decoder]:
        """What decodes: nvJPEG in the Python backend, DALI in NVIDIA's image; the door asks for it."""
        return frozenset({Decoder.PILLOW, Decoder.NVJPEG, Decoder.DALI})

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return the request that asks for ``images``; encoded ones go to the ensemble.

        Raises `PlanError` for payloads in shared memory: `share` knows where their tensors lie.
        """
        if case.payload in SHARED_PAYLOADS:
            raise PlanError(
                "a request for shared memory cannot be made of images alone",
                where=case.id,
                next_step="ask Triton.share for it, with the region that the images lie in",
            )
        names = ServedNames.of(case.deployment)
        model = names.jpeg if case.payload is Payload.JPEG else names.model
        request = triton_wire.grpc_request if case.protocol is WireProtocol.GRPC else triton_wire.http_request
        return request(model, case.payload, images, case.deployment.decoder)

    def share(self, case: Case, groups: Sequence[Sequence[Image]], region: str) -> SharedRequests:
        """Return what lies in the region, and the requests that only say where; a `MemorySharing`."""
        return triton_shared_memory.shared_requests(
            ServedNames.of(case.deployment).model,
            case.protocol,
            groups,
            region,
            gpu=case.deployment.device.index if case.payload is Payload.CUDASHM else None,
        )

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return one answer per image, with all logits; raises `AnswerError`."""
        return triton_wire.answers(case.protocol, reply, case.items_per_request)

    def served_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests for the loaded model's configuration, and for the server's version."""
        names = ServedNames.of(deployment)
        decodes = deployment.decoder is not Decoder.PILLOW
        return triton_served.requests(names.model, names.preprocess if decodes else "")

    def served(self, deployment: Deployment, replies: Sequence[Reply], log: str) -> Served:
        """Return what the model's backend says: its Python one in the log, others by their configuration."""
        names = ServedNames.of(deployment)
        decodes = deployment.decoder is not Decoder.PILLOW
        return triton_served.served(names.model, replies, log, names.preprocess if decodes else "")

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        """Return the request for the model's statistics.

        The statistics endpoint, not the metrics page: it answers for one model alone, in
        nanoseconds, on the port in use. The model, not the ensemble: an ensemble executes
        nothing, so it has neither batches nor compute time.
        """
        return triton_wire.statistics_request(deployment.served_name)

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return the counters in the reply to `counters_request`."""
        return triton_wire.counters(deployment.served_name, reply)

    def unload_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests after which ``deployment`` answers no more.

        Triton replies at once; its stub process ends one to two seconds later.
        """
        return tuple(triton_wire.unload_request(name) for name in reversed(model_names(deployment)))


def missing_client() -> tuple[MissingPiece, ...]:
    """Return what of Triton's own client is not installed, by which its requests are made."""
    absent = [name for name in ("tritonclient", "grpc", "geventhttpclient") if find_spec(name) is None]
    if not absent:
        return ()
    return (MissingPiece(what=f"Triton's client (package {', '.join(absent)})", remedy=INSTALL),)


def python_backend(deployment: Deployment) -> str:
    """Return the engine inside the Python backend, as the guest's `Engine.name` has it."""
    if deployment.format is ModelFormat.PYTORCH:
        return f"python backend: torch {deployment.device}"
    provider = "CPUExecutionProvider" if deployment.device.kind == "cpu" else "CUDAExecutionProvider"
    return f"python backend: onnxruntime {provider}"


def threads_environment(deployments: Sequence[Deployment]) -> dict[str, str]:
    """Return how many threads engines have, and what those do without work."""
    return {
        "OMP_NUM_THREADS": str(max(deployment.threads for deployment in deployments)),
        # Torch's threads, left alone, spin after each batch on the cores that the server needs.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
