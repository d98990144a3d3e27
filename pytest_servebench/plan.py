"""Nouns that go in: what shall be served, asked and measured. All frozen, all validated at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_servebench.arrivals import Arrivals, Scale, label_of
from pytest_servebench.choices import Decoder as Decoder
from pytest_servebench.choices import Engine as Engine
from pytest_servebench.choices import InputDtype as InputDtype
from pytest_servebench.choices import LauncherKind as LauncherKind
from pytest_servebench.choices import ModelFormat as ModelFormat
from pytest_servebench.choices import Payload as Payload
from pytest_servebench.choices import Precision as Precision
from pytest_servebench.choices import WireProtocol as WireProtocol
from pytest_servebench.comparison.changes import GateSettings
from pytest_servebench.containers import Container, ContainerSettings, ImageChoice
from pytest_servebench.leasing.lanes import Lane, lane_of
from pytest_servebench.objective import DEFAULT_OBJECTIVE, Objective

if TYPE_CHECKING:
    # Every pytest of an environment imports this file, and numpy is half of what that would cost.
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model computes: ``cpu``, or ``cuda`` with the index of a GPU, or of the first of several."""

    kind: str
    index: int = 0
    more: tuple[int, ...] = ()
    """Further GPUs that the same server computes on, ascending."""
    capability: tuple[int, int] | None = field(default=None, compare=False, repr=False)
    """The least compute capability of these GPUs, as (8, 9); None: nobody said."""

    @property
    def indexes(self) -> tuple[int, ...]:
        """The GPUs that it computes on; none on a CPU."""
        return () if self.kind == "cpu" else (self.index, *self.more)

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{','.join(map(str, self.indexes))}"


CPU = Device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model in a format under one batch setting, as one stack serves it.

    Two cases with equal deployments are answered by the same loaded model.
    """

    stack: str
    model: str
    format: ModelFormat
    max_batch_size: int = 8
    """The server's cap for dynamic batching, in images."""
    max_queue_delay_ms: float = 2.0
    """How long the server may hold a request to fill a batch."""
    device: Device = CPU
    precision: Precision = Precision.FP32
    input_dtype: InputDtype = InputDtype.FLOAT32
    """What the served graph takes; that of ``uint8`` payloads normalises them itself."""
    decoder: Decoder = Decoder.PILLOW
    """What decodes JPEG that it is sent; a case with another payload leaves it at that."""
    threads: int = 2
    """Engine threads on a CPU; the same for every stack, so that they can be compared."""

    @property
    def served_name(self) -> str:
        """The model's name on every stack's wire, e.g. ``resnet50_onnx`` or ``resnet50_onnx_fp16_uint8``."""
        unusual = [
            str(word)
            for word in (self.precision, self.input_dtype)
            if word not in (Precision.FP32, InputDtype.FLOAT32)
        ]
        return "_".join((self.model, str(self.format), *unusual))


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is sent for ``duration_s`` after ``warmup_s``.

    A closed loop keeps ``concurrency`` requests in flight. An open loop sends at the instants
    of ``arrivals``, whether or not earlier requests were answered; ``concurrency`` is not used.
    """

    concurrency: int = 1
    arrivals: Arrivals | None = None
    """When requests begin; None: a closed loop."""
    objective: Objective | None = None
    """Staged arrivals: what every stage that holds its rate is judged by; None: nothing is."""
    abort_after_s: float | None = None
    """Staged arrivals: from when on the load ends once such a stage has missed it; None: it never does."""
    max_in_flight: int = 512
    """Open loop: an arrival that finds so many requests in flight is dropped, counted and never sent."""
    warmup_s: float = 1.0
    duration_s: float = 5.0
    timeout_s: float = 30.0
    """A request without a complete reply after this long counts as a time-out."""
    verify_share: float = 0.01
    """Share of replies kept, by seed, and verified after the window."""
    seed: int = 0
    engine: Engine = Engine.SERVEBENCH
    workers: tuple[str, ...] = ()
    """Processes that send, each its share of this load, as execnet gateway specifications; none: this one."""
    steady: bool = False
    """The warm-up ends once its slices agree, and ``warmup_s`` is its limit."""
    precision: float | None = None
    """Relative half-width of the 95% confidence intervals of throughput and p95 at which the window may
    end before ``duration_s``; a run that does not get there is `undecided`. None: ``duration_s`` it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to measure: a deployment, how it is asked, and under which load."""

    deployment: Deployment
    payload: Payload = Payload.TENSOR
    protocol: WireProtocol = WireProtocol.HTTP
    items_per_request: int = 1
    load: Load = field(default_factory=Load)
    objective: Objective | None = None
    """What the highest rate of requests is looked for that holds it; ``load`` is then the closed loop with
    which the search begins, and in a result the arrivals that were found. None: ``load`` is measured."""
    images: str = "synthetic"
    """The image set asked with: ``synthetic`` (seeded) or ``photographs``."""
    repeat: int | None = None
    """Which replicate it is, from 1: each has a server that was started for it. None: it is not repeated."""

    @property
    def stack(self) -> str:
        """The stack's name."""
        return self.deployment.stack

    @property
    def id(self) -> str:
        """Stable text for test ids and file names, e.g. ``triton-onnx-tensor-http-b8-i1-c16``.

        A precision other than fp32 follows the format: ``triton-onnx-fp16-tensor-http-b8-i1-c16``.
        """
        d, load = self.deployment, self.load
        pace = f"c{load.concurrency}" if load.arrivals is None else label_of(load.arrivals)
        if self.objective is not None:
            pace = f"capacity-{self.objective.label}"
        precision = f"-{d.precision}" if d.precision is not Precision.FP32 else ""
        return (
            f"{d.stack}-{d.format}{precision}-{self.payload}-{self.protocol}"
            f"-b{d.max_batch_size}-i{self.items_per_request}-{pace}"
            + (f"-{load.engine}" if load.engine is not Engine.SERVEBENCH else "")
            + (f"-r{self.repeat}" if self.repeat is not None else "")
        )


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One input in both forms a client can send it."""

    index: int
    jpeg: bytes
    """The encoded image, as a camera would send it."""
    tensor: npt.NDArray[np.float32]
    """``jpeg`` preprocessed for its model: float32, [3, 224, 224]."""
    name: str = ""
    pixels: npt.NDArray[np.uint8] | None = None
    """``jpeg`` decoded, resized and cropped, not yet normalised: uint8, [3, 224, 224]; None: not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model exported to one format, on disk."""

    model: str
    format: ModelFormat
    path: Path
    """The model file (``model.onnx``, ``model.pt``, ``model.plan``)."""
    card_path: Path
    """``card.json`` beside it: preprocessing and provenance, for the guests."""
    labels_path: Path
    """``labels.json`` beside it: class names in order of class id."""
    sha256: str
    weights: str
    """Where the weights come from, e.g. ``seeded-random:0`` or ``file:resnet50.pth``."""
    precision: Precision = Precision.FP32
    """The arithmetic that the file holds; an engine may run one of fp32 in another."""
    input_dtype: InputDtype = InputDtype.FLOAT32


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFile:
    """A file a server needs in its private working folder.

    Exactly one of ``text`` (with ``${...}`` placeholders as in `LaunchSpec`) and
    ``source`` (a file or folder to link or, with ``copy``, to copy) is given.
    """

    path: str
    """Relative to the working folder."""
    text: str | None = None
    source: Path | None = None
    copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyCheck:
    """The server is ready once ``GET path`` on the port of ``port_role`` answers 200."""

    path: str
    port_role: str = "http"
    deadline_s: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """How a stack comes up as a local process or in a container, without saying where.

    ``argv``, ``environment`` and the text of ``files`` may hold placeholders as
    `string.Template` has them: ``${http_port}`` (one for each of ``port_roles``),
    ``${host}`` and ``${workdir}``. The launcher picks free ports and a private folder. Inside a
    container they stand for what the server sees there.
    """

    name: str
    argv: tuple[str, ...]
    port_roles: tuple[str, ...] = ("http",)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: tuple[WorkFile, ...] = ()
    ready: ReadyCheck
    container: Container | None = None
    """The container it runs in; None: it is a local process."""
    stop_grace_s: float = 10.0
    """How long the group has between TERM and KILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One request, encoded once before the clock starts.

    HTTP: ``path``, ``headers`` (without Host and Content-Length) and ``body``.
    gRPC: ``path`` is the full method name and ``body`` the serialised message.
    """

    protocol: WireProtocol
    path: str
    body: bytes
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    port_role: str = "http"
    image_indexes: tuple[int, ...] = ()
    """Which images it carries, in order; the answer must be theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPiece:
    """Something that is not on this machine, and the command that puts it there."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A limit per case on one summary metric."""

    metric: str
    """``response_time_p95_ms`` or ``images_per_s`` (see `gate.METRICS`)."""
    limit: float
    at_most: bool
    """True: the metric must not exceed ``limit``; False: must not fall below it."""
    profile: str
    """The hardware profile that the limit stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a session was asked for, after the door has checked it."""

    stacks: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What is not run although ``available`` or ``all`` might mean it, with the reason.

    Keyed ``triton`` (a stack), ``fastapi/tensorrt`` (with a format) or ``fastapi/onnx/bf16``.
    """
    attached: Mapping[str, str] = field(default_factory=dict)
    """Stacks that already run, by URL."""
    formats: tuple[ModelFormat, ...] = (ModelFormat.ONNX, ModelFormat.PYTORCH)
    formats_by_stack: Mapping[str, tuple[ModelFormat, ...]] = field(default_factory=dict)
    """Those of ``formats`` that each of ``stacks`` can serve here."""
    precisions: tuple[Precision, ...] = (Precision.FP32,)
    batch_sizes: tuple[int, ...] = (1, 8)
    model: str = "resnet50"
    payload: Payload = Payload.TENSOR
    decoder: Decoder = Decoder.AUTO
    """What decodes JPEG; each stack whose server cannot choose takes its own for ``auto``."""
    protocol: WireProtocol = WireProtocol.HTTP
    launcher: LauncherKind = LauncherKind.PROCESS
    launcher_reason: str = ""
    container: ContainerSettings = field(default_factory=ContainerSettings)
    """How containers are run, where the launcher is docker."""
    images: Mapping[str, ImageChoice] = field(default_factory=dict)
    """What was said of images, by stack."""
    device: Device = CPU
    device_reason: str = ""
    lanes: tuple[Lane, ...] = (Lane(),)
    """What workers of this run may use of the machine, in turn."""
    turn: int = 0
    """Whose plan this is, from 0: it decides which of ``lanes`` is its own."""
    repeats: int = 1
    """How often every case is measured, each time by a server that was started for it."""
    gate: GateSettings | None = None
    """What the run is compared with at its end; None: with nothing."""
    duration_s: float = 5.0
    warmup_s: float = 1.0
    steady: bool = False
    """The warm-up ends once the server has settled, and ``warmup_s`` is its limit."""
    precision: float | None = None
    """As `Load.precision`."""
    concurrency: int | None = None
    """None: each benchmark chooses (``test_throughput`` keeps twice the batch size in flight)."""
    objective: Objective = DEFAULT_OBJECTIVE
    """What a rate of requests must hold; ``settings`` tells whether it was asked for."""
    arrivals: Arrivals | None = None
    """None: a closed loop, asked for or not (``settings`` tells), where a benchmark does not choose."""
    load_scale: Scale | None = None
    """What the rates of staged arrivals are multiplied by; None: they are as they stand."""
    abort_after_s: float | None = None
    """From when on a staged load ends once a hold has missed its objective; None: it never does."""
    max_in_flight: int = 512
    load_workers: tuple[str, ...] = ()
    """Who sends, as execnet gateway specifications; none: this process."""
    host: str = "127.0.0.1"
    """Where servers that are launched listen, and where load is sent."""
    engine: Engine = Engine.SERVEBENCH
    engine_reason: str = ""
    """Which one it is exactly, e.g. its path; empty for our own."""
    threads: int = 2
    raw: bool = True
    """Whether each model is measured in process too."""
    thresholds_path: Path | None = None
    require_thresholds: bool = False
    report_dir: Path | None = None
    """Where the report is written at the session's end; None: nowhere."""
    quick: bool = False
    cache_dir: Path = Path(".servebench-cache")
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the user set, by option, for the record."""

    @property
    def lane(self) -> Lane:
        """What this process may use."""
        return lane_of(self.lanes, self.turn)
