"""Nouns that come out: what was sent, read and found. Missing is None with a reason, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.capacity import Capacity
from pytest_servebench.histogram import Histogram
from pytest_servebench.plan import Case, Word
from pytest_servebench.staged import Scaling, StageResult


class Outcome(IntEnum):
    """How one request ended."""

    OK = 0
    HTTP_ERROR = 1
    """A complete reply with another status than success (HTTP other than 200, gRPC other than 0)."""
    TRANSPORT_ERROR = 2
    """No complete reply: refused, reset, closed early, or not the protocol."""
    TIMEOUT = 3
    DROPPED = 4
    """An arrival that was never sent because the in-flight cap was reached."""
    WRONG = 5
    """A complete reply whose answer is not the reference's; set by verification, after the window."""


class Validity(Word):
    """Whether a measurement may be believed, or why not."""

    VALID = "valid"
    ERRORS = "errors"
    WRONG_OUTPUT = "wrong_output"
    UNSTABLE = "unstable"
    CLIENT_LIMITED = "client_limited"
    UNDECIDED = "undecided"


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
    pid: int | None = None
    """Root of the server's process tree; None when the server is not ours."""
    log_path: Path | None = None
    started_s: float | None = None
    """Launch to ready, in seconds; None for an attached server."""

    def authority(self, role: str = "http") -> str:
        """Return ``host:port`` of a role."""
        return f"{self.host}:{self.ports[role]}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete reply. gRPC: ``status`` is the grpc-status, ``body`` the serialised message."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


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
class ClientShare:
    """What one of several workers did of a load."""

    worker: str
    """Its number and where it ran, e.g. ``2:ssh=bench@10.0.0.7``."""
    client_cpu_s: float
    """CPU time it spent inside the window."""
    sent: int
    """Requests it sent inside the window."""
    clock_uncertainty_ns: int = 0
    """By how much its instants may be off against the others'; 0: one clock. Durations are never off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One short part of a load's time; ``+`` joins two in a row, or those of two clients at one time.

    A request is sent in the slice in which it was, and ends in the one in which it did: always
    ``offered = sent + dropped``, and over a whole load ``sent = correct + failed``, but for what is
    in flight at its end.
    """

    begin_ns: int
    end_ns: int
    offered: int = 0
    """Requests that were due, sent or not."""
    sent: int = 0
    correct: int = 0
    """OK replies, before verification."""
    failed: int = 0
    """Requests that were sent and ended in an error or a time-out."""
    dropped: int = 0
    response_times: Histogram = field(default_factory=Histogram)
    """Of the correct replies that ended in it."""

    def __add__(self, other: Slice) -> Slice:
        return Slice(
            begin_ns=min(self.begin_ns, other.begin_ns),
            end_ns=max(self.end_ns, other.end_ns),
            offered=self.offered + other.offered,
            sent=self.sent + other.sent,
            correct=self.correct + other.correct,
            failed=self.failed + other.failed,
            dropped=self.dropped + other.dropped,
            response_times=self.response_times + other.response_times,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts and distributions of some requests; ``+`` is exact."""

    outcomes: tuple[int, ...] = (0,) * len(Outcome)
    """How many ended how, by `Outcome`."""
    response_times: Histogram = field(default_factory=Histogram)
    """Of correct replies, as the next."""
    service_times: Histogram = field(default_factory=Histogram)
    send_lags: Histogram = field(default_factory=Histogram)
    """Of those that were sent."""

    @property
    def requests(self) -> int:
        """All of them, those dropped too."""
        return sum(self.outcomes)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            outcomes=tuple(a + b for a, b in zip(self.outcomes, other.outcomes, strict=True)),
            response_times=self.response_times + other.response_times,
            service_times=self.service_times + other.service_times,
            send_lags=self.send_lags + other.send_lags,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What is left of requests whose rows are no longer in the arrays; ``+`` is exact.

    All of them ended before the window did.
    """

    outcomes: tuple[int, ...] = (0,) * len(Outcome)
    """How many ended how, by `Outcome`, the warm-up's too."""
    inside: Tally = field(default_factory=Tally)
    """Those that ended inside the window; ``send_lags`` are of those intended inside it."""
    offered: int = 0
    """How many were intended inside the window, sent or dropped."""
    sent: int = 0
    """How many were sent inside it."""
    in_flight_at_begin: int = 0
    """How many were in flight when it began."""
    stages: tuple[Tally, ...] = ()
    """A staged load's: of those that ended inside the window, by the stage they were intended in."""

    @property
    def requests(self) -> int:
        """How many were folded."""
        return sum(self.outcomes)

    def __add__(self, other: Folded) -> Folded:
        return Folded(
            outcomes=tuple(a + b for a, b in zip(self.outcomes, other.outcomes, strict=True)),
            inside=self.inside + other.inside,
            offered=self.offered + other.offered,
            sent=self.sent + other.sent,
            in_flight_at_begin=self.in_flight_at_begin + other.in_flight_at_begin,
            stages=tuple(a + b for a, b in zip_longest(self.stages, other.stages, fillvalue=Tally())),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Samples:
    """The requests of one load, in order of sending (dropped: of intent); arrays of equal length.

    The arrays hold every request up to a bound; of longer loads the latest ones and those whose
    replies were kept, and ``folded`` tells of the others.

    Instants are CLOCK_MONOTONIC nanoseconds; -1 where the instant did not happen.
    Warm-up requests are in the arrays and outside ``window_ns``.
    """

    intended_ns: npt.NDArray[np.int64]
    sent_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    request_index: npt.NDArray[np.int32]
    """Which of the encoded requests was sent."""
    window_ns: tuple[int, int]
    """Begin and end of the measured window; a sample belongs to the window it ends in."""
    started_ns: int | None = None
    """When the load began: its warm-up, and the zero of a schedule's offsets."""
    slices: tuple[Slice, ...] = ()
    """The load's time line from its start to the window's end, in order and without gaps; a slice
    begins where the window does. Of about equal length, longer ones for longer loads."""
    folded: Folded | None = None
    """Requests that are not in the arrays; None: all are."""
    settled: bool | None = None
    """Whether a steady warm-up ended because its slices agreed; None where that was not asked for."""
    replies: Mapping[int, Reply] = field(default_factory=dict)
    """Kept replies by sample position, for verification after the window."""
    client_cpu_s: float = 0.0
    """CPU time the client spent inside the window, all workers together."""
    clients: tuple[ClientShare, ...] = ()
    """What each worker did; empty where this process sent."""
    client_cores: int = 1
    """Cores that the client could have used at most: what its CPU time is judged against."""
    arrivals_due: int | None = None
    """Arrivals due in the window, from an engine that does not tell when each was due: its ``intended_ns``
    are when it sent, and nobody knows its lag. None: each has its instant."""
    engine_report: Mapping[str, Any] = field(default_factory=dict)
    """What an engine that is not ours says of its load."""
    first_error: str = ""
    """The first failure in words, with its status or errno."""

    def __len__(self) -> int:
        """Return how many requests the arrays hold."""
        return len(self.sent_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a person watching sees of a load that runs."""

    stage: str
    """``warm-up`` or ``measuring``."""
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
    """CPU seconds of the server's process tree per second."""
    server_memory_bytes: int | None = None
    """Highest resident memory of the server's process tree seen in the window."""
    gpu_utilization_percent: float | None = None
    gpu_memory_bytes: int | None = None
    batch_size_achieved: float | None = None
    queue_time_ms: float | None = None
    compute_time_ms: float | None = None
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
    """The engine that served, e.g. ``python backend: onnxruntime CPUExecutionProvider``."""
    weights: str
    validity: Validity
    reason: str = ""
    """Why the run is not valid, in one sentence."""
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
    cold_start_s: float | None = None
    """Launch to first correct answer; None when the server was already up."""

    @property
    def publishable(self) -> bool:
        """Whether latency and throughput may be shown: never for a wrong or empty run."""
        return self.summary is not None and self.validity not in (
            Validity.WRONG_OUTPUT,
            Validity.ERRORS,
        )


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
