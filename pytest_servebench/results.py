"""Nouns that come out: what was sent, read and found. Missing is None with a reason, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_servebench.capacity import Capacity
from pytest_servebench.containers import ContainerFacts
from pytest_servebench.plan import Case
from pytest_servebench.staged.outcomes import Scaling, StageResult
from pytest_servebench.words import Word

if TYPE_CHECKING:
    # As in `plan`.
    import numpy as np
    import numpy.typing as npt

    from pytest_servebench.samples import Samples


class Validity(Word):
    """Whether a measurement may be believed, or why not."""

    VALID = "valid"
    ERRORS = "errors"
    WRONG_OUTPUT = "wrong_output"
    WRONG_BACKEND = "wrong_backend"
    """The server says that it computes elsewhere, or otherwise, than it was asked to."""
    UNSTABLE = "unstable"
    CLIENT_LIMITED = "client_limited"
    UNDECIDED = "undecided"


REFUSED = (Validity.WRONG_OUTPUT, Validity.WRONG_BACKEND, Validity.ERRORS)
"""What is wrong whatever its speed: nothing of it is published, and its test fails without any limit."""


class Judgement(Word):
    """What the gate says of a case."""

    PASS = "pass"  # noqa: S105 (a verdict, no secret)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNGATED = "ungated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A ready address."""

    stack: str
    host: str
    ports: Mapping[str, int]
    """By role: ``http``, and where the stack has them ``grpc``, ``metrics``, ``management``."""
    launcher: str
    container: ContainerFacts | None = None
    """What it runs in; None when that is no container of ours."""
    pid: int | None = None
    """Root of the server's process tree; None when it is not ours, or its container's are not seen."""
    log_path: Path | None = None
    started_s: float | None = None
    """Launch to ready, in seconds; None for an attached server."""

    def authority(self, role: str = "http") -> str:
        """Return ``host:port`` of a role."""
        return f"{self.host}:{self.ports[role]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server says that it runs a deployment with: as it is there, not as it was asked for."""

    engine: str | None = None
    """The library and its version, e.g. ``onnxruntime 1.31.1``."""
    provider: str | None = None
    """What computes most of the model, e.g. ``CUDAExecutionProvider`` or ``libtorch``."""
    device: str | None = None
    """``cpu`` or ``cuda:0``, as the server counts its GPUs."""
    one_of: int = 1
    """Of how many workers, side by side, one alone was asked; 1: it speaks for the whole server."""
    precision: str | None = None
    """The arithmetic that the loaded model runs in, e.g. ``fp16``."""
    nodes: Mapping[str, int] = field(default_factory=dict)
    """Nodes of the model's graph by the provider that computes them; empty where an engine does not say."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What else shapes the speed, e.g. ``cuda_graphs: on``, ``memory_format: channels_last``."""
    warnings: tuple[str, ...] = ()
    """What of it speaks against a fast server, one sentence each; no verdict follows from it."""
    absent: str = ""
    """Why nothing is known of it."""


NOT_TOLD = Served(absent="nobody asked the server")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a server said of one image."""

    class_ids: tuple[int, ...]
    """Best first; at least one."""
    confidences: tuple[float, ...]
    """Softmax probabilities of ``class_ids``."""
    logits: npt.NDArray[np.float32] | None = None
    """All raw scores, [1000], where the stack returns them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a person watching sees of a load that runs."""

    stage: str
    """``warm-up``, ``measuring`` or ``draining``: awaiting what is in flight at the window's end."""
    elapsed_s: float
    remaining_s: float
    completed: int
    errors: int
    throughput_per_s: float
    response_time_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the client reaches against a server that does nothing, with such requests and replies."""

    per_s: float | None
    """Requests per second."""
    absent: str = ""
    """Why it is None."""


NO_CEILING = Ceiling(None, "nobody measured it")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBaseline:
    """What the same model does in process: same device, threads and batch, no server."""

    images_per_s: float | None = None
    batch_size: int | None = None
    """Images in one batch: as many as the case can make its server put together."""
    batches: int | None = None
    """How many were computed."""
    computed_s: float | None = None
    engine: str = ""
    """As `handlers/engine.py` names it, e.g. ``onnxruntime CPUExecutionProvider``."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries that computed."""
    absent: str = ""
    """Why ``images_per_s`` is None."""


NO_RAW = RawBaseline(absent="nobody measured it")
RAW_LEFT_OUT = RawBaseline(absent="it was left out")
"""As somebody wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The statistics of one measured window. A figure that cannot be had is None."""

    window_s: float
    correct: int
    wrong: int = 0
    errors: int = 0
    """HTTP and transport errors."""
    timeouts: int = 0
    dropped: int = 0
    response_time_p50_ms: float | None = None
    response_time_p95_ms: float | None = None
    response_time_p99_ms: float | None = None
    response_time_mean_ms: float | None = None
    response_time_min_ms: float | None = None
    response_time_max_ms: float | None = None
    service_time_p50_ms: float | None = None
    """Received - sent; in a closed loop the same as the response time."""
    service_time_p95_ms: float | None = None
    service_time_p99_ms: float | None = None
    send_lag_p50_ms: float | None = None
    """Sent - intended: how late the client was. None in a closed loop, which intends nothing."""
    send_lag_p99_ms: float | None = None
    offered_per_s: float | None = None
    """Arrivals per second, those dropped among them. None in a closed loop."""
    achieved_per_s: float | None = None
    """Requests sent per second."""
    throughput_per_s: float | None = None
    """Correct responses per second."""
    images_per_s: float | None = None
    throughput_ci_per_s: tuple[float, float] | None = None
    """95% confidence interval of the throughput, over the window's slices; None: too few of them."""
    response_time_p95_ci_ms: tuple[float, float] | None = None
    """That of the p95 response time; None: too few replies to bound it."""
    warmup_s: float | None = None
    """How long the warm-up was."""
    settled: bool | None = None
    """Whether it ended because the server had settled; None where its length was fixed."""
    capacity_per_s: float | None = None
    """Highest rate of arrivals that held the case's objective; None where none was looked for or held."""
    client_cpu_share: float | None = None
    """Share of one core that the client used inside the window; the sum over its workers."""
    client_cpu_shares: Mapping[str, float] = field(default_factory=dict)
    """The same by worker; empty where this process sent."""
    ceiling_per_s: float | None = None
    """Requests per second that the same client sends to a server that does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What was read beside the load, over the measured window."""

    server_cpu_cores: float | None = None
    """CPU seconds of the server per second."""
    server_cpu_s: float | None = None
    """CPU seconds of the server."""
    server_memory_bytes: int | None = None
    """Highest resident memory of the server seen in the window."""
    server_memory_kind: str | None = None
    """``pss``, ``rss`` or ``cgroup``."""
    server_scope: str | None = None
    """What the server was read from: ``process_tree`` or ``cgroup``; None: its processes are not known."""
    server_throttled_share: float | None = None
    """Share of periods in which a limit of CPU time held the server back; None: no limit that is seen."""
    client_cpu_s: float | None = None
    """CPU seconds of this process and what it started, load workers on this machine among it."""
    client_memory_bytes: int | None = None
    other_cpu_cores: float | None = None
    """Cores that neither server nor client, but others used, of those that server and client may use."""
    gpu_name: str | None = None
    gpu_scope: str | None = None
    """``processes``, ``device`` or ``mig``, see `telemetry.gpu.GpuProbe.scope`; None: no GPU was read."""
    gpu_utilization_percent: float | None = None
    gpu_memory_bytes: int | None = None
    """Highest of the device, or of the part of it that the server is given, whoever uses it."""
    gpu_process_memory_bytes: int | None = None
    """Highest of the server's processes."""
    gpu_shared_with: int | None = None
    """Processes of others that were seen on it."""
    gpu_other_pids: tuple[int, ...] = ()
    gpu_other_memory_bytes: int | None = None
    gpu_power_w: float | None = None
    gpu_power_limit_w: float | None = None
    gpu_power_default_w: float | None = None
    """What that limit is unless somebody sets another."""
    gpu_energy_j: float | None = None
    """Of the whole device, over the window."""
    gpu_energy_source: str | None = None
    """``counter`` of the driver, or ``power``, integrated; None: there is no energy."""
    joules_per_image: float | None = None
    """That energy by correct image."""
    gpu_sm_clock_mhz: float | None = None
    gpu_sm_clock_max_mhz: float | None = None
    """The highest that it can have."""
    gpu_memory_clock_mhz: float | None = None
    gpu_temperature_c: float | None = None
    gpu_throttle: Mapping[str, float] | None = None
    """Share of samples in which clocks were held down, by reason; empty: never."""
    gpus: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of several GPUs the figures of each, by ``cuda:N`` and the names above, which then join them; of one
    there is nothing more to say."""
    batch_size_achieved: float | None = None
    """Images per model execution. This and what follows is what the server says itself."""
    executions: int | None = None
    batch_sizes: Mapping[str, int] | None = None
    """Executions by their number of images, or by the upper bound of a range of them; ``+Inf``: no bound."""
    queue_time_ms: float | None = None
    """Mean per request, as those below unless they say otherwise."""
    compute_time_ms: float | None = None
    """Of the execution that answered, all of it."""
    compute_input_ms: float | None = None
    compute_infer_ms: float | None = None
    compute_output_ms: float | None = None
    handler_time_ms: float | None = None
    """Mean per batch, of a server with a handler: reading its requests, the model, the answers."""
    counters_offset_s: tuple[float, float] | None = None
    """How long after the window's begin and after its end the server was asked for all this; None: it is
    of the whole load, warm-up included."""
    warnings: tuple[str, ...] = ()
    """What else was at work on this machine, one sentence each; no verdict follows from it."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why a figure above is None, by field name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How answers compared with the reference."""

    compared: int
    mismatches: tuple[str, ...] = ()
    """One sentence each; empty when all agree."""
    tolerance: float = 0.0
    worst_difference: float = 0.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CaseResult:
    """All that is known of one measured case."""

    case: Case
    endpoint: Endpoint
    backend: str
    """The engine that was asked for, e.g. ``python backend: onnxruntime CPUExecutionProvider``."""
    weights: str
    validity: Validity
    reason: str = ""
    """Why the run is not valid, in one sentence."""
    served: Served = NOT_TOLD
    """What the server says that it computes with."""
    samples: Samples | None = None
    summary: Summary | None = None
    stages: tuple[StageResult, ...] = ()
    """Of a staged load, stage by stage."""
    scaling: Scaling | None = None
    """How its rates came about; None: they were given."""
    telemetry: Telemetry = field(default_factory=Telemetry)
    before: Verification | None = None
    during: Verification | None = None
    capacity: Capacity | None = None
    """What the search found whose confirming run this is; None for a case without an objective."""
    ceiling: Ceiling = NO_CEILING
    raw: RawBaseline = NO_RAW
    restarted: bool = True
    """Whether its server was started for its repeat; False: it is somebody else's, and runs on."""
    cold_start_s: float | None = None
    """Launch to first correct answer; None when the server was already up."""
    waited_s: float | None = None
    """How long others were waited for that started or measured; None: nobody looked."""

    @property
    def publishable(self) -> bool:
        """Whether latency and throughput may be shown: never for a wrong or empty run."""
        return self.summary is not None and self.validity not in REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One limit that was not held."""

    metric: str
    limit: float
    seen: float | None
    profile: str
    sentence: str
    """Limit, seen and by how much, ready to print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The gate's word on one case."""

    judgement: Judgement
    breaches: tuple[Breach, ...] = ()
    reason: str = ""
    """Why it is inconclusive or ungated."""
