"""Contracts between the rooms: small Protocols, satisfied by shape alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_servebench.containers import ImageChoice, Preparation
from pytest_servebench.plan import (
    Artifact,
    Case,
    Decoder,
    Deployment,
    Device,
    Image,
    LaunchSpec,
    Load,
    MissingPiece,
    ModelFormat,
    Payload,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Answer, Endpoint, Progress, Served

if TYPE_CHECKING:
    # As in `plan`: both need numpy.
    from pytest_servebench.samples import Reply, Samples
    from pytest_servebench.sharing.shared_requests import SharedRequests


class Clock(Protocol):
    """Reads and spends monotonic time."""

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""

    def sleep_s(self, seconds: float) -> None:
        """Let ``seconds`` pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCounters:
    """A stack's own counters at one instant, read from its metrics; None where it has none."""

    images: float | None = None
    """Images inferred since the server started."""
    executions: float | None = None
    """Model executions since the server started; images / executions is the achieved batch."""
    queue_s: float | None = None
    """Total time requests spent in the server's queue, seconds."""
    compute_s: float | None = None
    """Total time requests spent computing, seconds."""
    compute_input_s: float | None = None
    """Of that, the total time in which inputs were put together or copied to the device."""
    compute_infer_s: float | None = None
    """Of that, the total time in which the model ran."""
    compute_output_s: float | None = None
    """Of that, the total time in which outputs were copied or taken apart."""
    requests: float | None = None
    """Requests the totals above are spread over."""
    handler_s: float | None = None
    """Total time in the handler of a server that has one, once per batch."""
    handler_calls: float | None = None
    """Batches that total is spread over."""
    executions_by_batch: Mapping[str, float] | None = None
    """Executions by their number of images, or by the upper bound of a range of them (``+Inf``: no bound)."""


class Stack(Protocol):
    """How one server is described: what it offers, how it is launched, what is said on its wire.

    A stack opens no socket, starts nothing and knows no Docker: it turns frozen
    values into frozen values. `launchers` and `load` act on what it describes.
    """

    @property
    def name(self) -> str:
        """The word a user types after ``--stack=``."""

    @property
    def formats(self) -> frozenset[ModelFormat]:
        """Formats it serves."""

    @property
    def payloads(self) -> frozenset[Payload]:
        """Payloads it understands."""

    @property
    def protocols(self) -> frozenset[WireProtocol]:
        """Protocols it speaks."""

    def missing(self, formats: Sequence[ModelFormat]) -> tuple[MissingPiece, ...]:
        """Return what must be installed before it can serve ``formats`` as a local process."""

    def backend(self, deployment: Deployment) -> str:
        """Return the engine that serves ``deployment`` when launched as a local process."""

    def launch_spec(self, deployments: Sequence[Deployment], artifacts: Mapping[str, Artifact]) -> LaunchSpec:
        """Return how to launch it, able to serve any of ``deployments``.

        ``artifacts`` are keyed by `Deployment.served_name`. Deployments all name this
        stack. A stack with a control API starts without any model loaded; one without
        is given exactly one deployment and starts with it loaded.
        """

    def encode(self, case: Case, images: Sequence[Image]) -> WireRequest:
        """Return the request that asks for ``images`` (``case.items_per_request`` of them)."""

    def decode(self, case: Case, reply: Reply) -> tuple[Answer, ...]:
        """Return one answer per image, in order.

        Raises `AnswerError` when the reply cannot be read.
        """

    def counters_request(self, deployment: Deployment) -> WireRequest | None:
        """Return the request that reads its counters; None when it reports none."""

    def counters(self, deployment: Deployment, reply: Reply) -> ServerCounters:
        """Return the counters in the reply to `counters_request`."""


class ModelControl(Protocol):
    """A stack whose running server loads and unloads models; one server then serves a whole plan."""

    def load_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests, in order, after which ``deployment`` is ready to infer."""

    def unload_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests, in order, after which ``deployment`` is gone."""


class Telling(Protocol):
    """A stack whose server tells what it computes with; `told.told_by` asks it once, when it is warm."""

    def served_requests(self, deployment: Deployment) -> tuple[WireRequest, ...]:
        """Return the requests that ask it; none where all of it is in the server's log."""

    def served(self, deployment: Deployment, replies: Sequence[Reply], log: str) -> Served:
        """Return what it says in the replies to `served_requests`, each of status 200, and in its log.

        ``log`` are the log's last lines, empty where it is not ours to read. What is not said is None, and
        where nothing is, or nothing of it can be read, ``absent`` says why: it raises nothing.
        """


class LaunchGrouping(Protocol):
    """A stack with `ModelControl` of which one launch cannot serve everything."""

    def launch_group(self, deployment: Deployment) -> str:
        """Return what all deployments of one launch have in common; those of another need another."""


class Preparing(Protocol):
    """A stack that serves what only its image's own tools make of a model file."""

    def preparation(self, deployment: Deployment, artifact: Artifact) -> Preparation | None:
        """Return what has to be made of ``artifact`` before ``deployment`` can be launched; None: nothing.

        Raises `ModelError` where the stack cannot serve the deployment from that file.
        """


class CastingNothing(Protocol):
    """A stack that may run model files as they are: what it computes in is what they hold."""

    @property
    def casts_nothing(self) -> bool:
        """Whether it does; False: its engines cast a file in fp32.

        Where its server does not tell its precision, it is then read from the file.
        """


class Decoding(Protocol):
    """A stack whose server decodes JPEG by more than Pillow."""

    @property
    def decoders(self) -> frozenset[Decoder]:
        """Those that can be asked of it, where it computes on a GPU."""


class CompilingTorchScript(Protocol):
    """A stack whose ``tensorrt`` is compiled from a TorchScript file; others are given ONNX."""

    @property
    def compiles_torchscript(self) -> bool:
        """Whether it is."""


class Preparer(Protocol):
    """A launcher that has files made by the tools of a server's image."""

    def prepare(self, stack: str, preparation: Preparation) -> Path:
        """Return the file, made now or kept from earlier; raises `LaunchError`."""


class Containerised(Protocol):
    """A stack that also comes as a container."""

    def in_container(self, choice: ImageChoice, device: Device) -> Stack:
        """Return the stack as it is served from an image: its launch names a `containers.Container`.

        Its `Stack.missing` is what this machine lacks to talk to it; its `Stack.backend` is the image's.
        A container is given those GPUs alone and numbers them from 0, whatever their indexes are.
        """


class MemorySharing(Protocol):
    """A stack whose server reads tensors from memory that it shares with the client.

    It offers the payload ``shm`` (the system's), ``cudashm`` (that of the GPU it computes on), or both.
    """

    def share(self, case: Case, groups: Sequence[Sequence[Image]], region: str) -> SharedRequests:
        """Return what lies in a region of that name, and the requests that ask for each of ``groups``.

        The images of a group lie side by side. `Stack.encode` is never asked for such a case.
        """


class RunningServer(Protocol):
    """A server that a launcher brought up and can end."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""

    def exit_code(self) -> int | None:
        """Return its exit code when it has ended by itself, else None."""

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""

    def stop(self) -> None:
        """End it and everything it started; may be called twice."""


class Launcher(Protocol):
    """Brings described servers up."""

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> RunningServer:
        """Return a ready server whose private files lie in ``workdir``; raises `LaunchError`.

        When it raises, nothing it started is left.
        """


class Watch(Protocol):
    """Looks on while a load runs."""

    def progress(self, progress: Progress) -> None:
        """See how far the load is; called a few times a second."""

    def server_gone(self) -> str | None:
        """Return why the server is gone, or None while it lives; asked after transport errors."""


class Driver(Protocol):
    """Sends encoded requests. Moves bytes, decides nothing about them."""

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        """Send one request on a connection of its own and return the reply; raises `LoadError`."""

    def run(
        self,
        endpoint: Endpoint,
        requests: Sequence[WireRequest],
        load: Load,
        watch: Watch,
    ) -> Samples:
        """Send ``requests`` round robin under ``load`` and return every sample.

        ``watch.progress`` is called from this thread between sends.
        """
