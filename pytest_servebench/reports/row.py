"""One case in the table: what it is called, its figures, and whether they may be believed (pure)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_servebench.arrivals import CLOSED
from pytest_servebench.comparison.intervals import AcrossRuns, across_runs
from pytest_servebench.plan import Engine, Precision
from pytest_servebench.record import gpus_in, of_each_gpu
from pytest_servebench.reports.bottleneck import bottleneck_of
from pytest_servebench.reports.evidence import Evidence, evidence_of
from pytest_servebench.results import NO_RAW, RAW_LEFT_OUT

LONGEST_LOAD = 24
VALID = "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case in the table; a figure that is missing is None."""

    benchmark: str
    stack: str
    model: str
    format: str
    precision: str
    payload: str
    protocol: str
    device: str
    max_batch_size: int
    items_per_request: int
    load: str
    """The load's words: ``16 in flight``, or its arrivals."""
    open_loop: bool
    replies: int | None
    """Correct ones in the window: what the percentiles are of."""
    response_time_p50_ms: float | None
    response_time_p95_ms: float | None
    response_time_p99_ms: float | None
    service_time_p95_ms: float | None
    send_lag_p99_ms: float | None
    images_per_s: float | None
    serving_efficiency: float | None
    """Images/s as a share of those of the model in process."""
    capacity_per_s: float | None
    """Highest rate that held the objective."""
    capacity: Mapping[str, Any] | None
    """The record's word on the search; None for a case without an objective."""
    server_cpu_cores: float | None
    gpu_utilization_percent: float | None
    gpu_power_w: float | None
    joules_per_image: float | None
    memory_gb: float | None
    batch_size_achieved: float | None
    cold_start_s: float | None
    validity: str
    reason: str
    judgement: str | None
    verdict_reason: str
    breaches: tuple[str, ...]
    """The sentence of each limit that was not held."""
    warnings: tuple[str, ...]
    """What else was at work on the machine, a sentence each."""
    raw_absent: str
    """Why the model in process has no figure, though one was asked for."""
    evidence: Evidence
    """What its bottleneck is told from."""
    repeat: int | None = None
    """Which replicate it is; None: the case is not repeated, or these are all of them."""
    repeats: int = 1
    restarted: bool = True
    replicates: tuple[Row, ...] = ()
    """What this row joins; its figures are their medians."""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Row:
        """Return the row of a record as `record.make_record` and the recorder leave it."""
        case, telemetry, figures = record["case"], record["telemetry"], record["figures"]
        verdict = record["verdict"] or {}
        times = record["response_time_ms"]
        return cls(
            benchmark=record.get("benchmark", ""),
            **{name: case[name] for name in ("stack", "model", "format", "payload", "protocol", "device")},
            # A record that was cut down may lack it, and was made when there was one.
            precision=case.get("precision") or str(Precision.FP32),
            max_batch_size=case["max_batch_size"],
            items_per_request=case["items_per_request"],
            load=case.get("objective") or _words(record["load"]),
            open_loop=record["load"].get("arrivals", CLOSED) != CLOSED,
            replies=record["counts"]["correct"] if record["publishable"] else None,
            **{f"response_time_{name}_ms": times[name] for name in ("p50", "p95", "p99")},
            service_time_p95_ms=record.get("service_time_ms", {}).get("p95"),
            send_lag_p99_ms=record.get("send_lag_ms", {}).get("p99"),
            images_per_s=record["images_per_s"],
            serving_efficiency=record.get("serving_efficiency"),
            capacity_per_s=(record.get("capacity") or {}).get("last_passing_per_s"),
            capacity=record.get("capacity"),
            server_cpu_cores=telemetry["server_cpu_cores"],
            gpu_utilization_percent=telemetry["gpu_utilization_percent"],
            gpu_power_w=telemetry.get("gpu_power_w"),
            joules_per_image=telemetry.get("joules_per_image"),
            memory_gb=figures["memory_usage_gb"],
            batch_size_achieved=telemetry["batch_size_achieved"],
            cold_start_s=record["cold_start_s"],
            validity=record["validity"],
            reason=record["reason"],
            judgement=verdict.get("judgement"),
            verdict_reason=verdict.get("reason", ""),
            breaches=tuple(breach["sentence"] for breach in verdict.get("breaches", ())),
            **{name: record[name] for name in ("repeat", "repeats", "restarted") if name in record},
            warnings=(*(record.get("served") or {}).get("warnings", ()), *telemetry.get("warnings", ())),
            raw_absent=_raw_absent(record),
            evidence=evidence_of(record),
        )

    @property
    def group(self) -> tuple[object, ...]:
        """What rows must share to be compared: everything but stack, format and precision."""
        asked = (self.benchmark, self.model, self.payload, self.protocol, self.device)
        return (*asked, self.max_batch_size, self.items_per_request, self.load)

    @property
    def form(self) -> str:
        """The format, and the precision where it is not fp32: ``onnx``, ``onnx fp16``."""
        return self.format if self.precision == Precision.FP32 else f"{self.format} {self.precision}"

    @property
    def gpus(self) -> int:
        """How many GPUs the server was given."""
        return gpus_in(self.device)

    @property
    def images_per_s_per_gpu(self) -> float | None:
        """What each of its GPUs does: not read from the record, which a baseline has cut it out of."""
        return of_each_gpu(self.images_per_s, self.device)

    @property
    def images_per_s_per_gb(self) -> float | None:
        """What the memory earns."""
        if self.images_per_s is None or not self.memory_gb:
            return None
        return self.images_per_s / self.memory_gb

    @property
    def valid(self) -> tuple[Row, ...]:
        """Those of its replicates that may be believed."""
        return tuple(one for one in self.replicates if one.validity == VALID)

    @property
    def wanted(self) -> int:
        """How many replicates there should be; with ``--dist=each`` there are more, those of every worker."""
        return max(self.repeats, len(self.replicates))

    @property
    def is_believed(self) -> bool:
        """Whether it is valid, in every repeat that there should be."""
        return self.validity == VALID and (not self.replicates or len(self.valid) == self.wanted)

    @property
    def millijoules_per_image(self) -> float | None:
        """What an image costs of the GPU's energy."""
        return None if self.joules_per_image is None else 1e3 * self.joules_per_image

    @property
    def limited_by(self) -> str:
        """What kept it from more: a word of `bottleneck.Limit`."""
        return str(bottleneck_of(self.evidence).kind)

    @property
    def verdict(self) -> str:
        """Validity, of how many repeats, and the gate's word where the run may be believed."""
        word = f"{VALID} {len(self.valid)}/{self.wanted}" if self.replicates else self.validity
        return word if not self.is_believed or self.judgement is None else f"{word}, {self.judgement}"

    def across(self, value: Callable[[Row], str | float | None]) -> AcrossRuns | None:
        """Return how a figure varies over the valid replicates; None: nothing tells how starts differ."""
        found = [value(one) for one in self.valid]
        numbers = [float(one) for one in found if one is not None]
        return across_runs(numbers) if self.restarted else None

    @property
    def label(self) -> str:
        """The case in a few words, for a line of its own."""
        return (
            f"{self.benchmark} {self.stack} {self.form}, batch {self.max_batch_size},"
            f" {self.items_per_request} per request, {self.load}"
            + (f", repeat {self.repeat}" if self.repeat is not None else "")
        )


def _words(load: Mapping[str, Any]) -> str:
    """Return how the load is paced, shortened to what a table has room for, and by whom if not by us."""
    arrivals, workers = str(load.get("arrivals", CLOSED)), len(load.get("workers") or ())
    engine = load.get("engine", Engine.SERVEBENCH)
    by = f" by {workers} worker{'s' * (workers > 1)}" if workers else ""
    by = by if engine == Engine.SERVEBENCH else f" by {engine}"
    if arrivals == CLOSED:
        return f"{load.get('concurrency')} in flight{by}"
    return (arrivals if len(arrivals) <= LONGEST_LOAD else f"{arrivals[: LONGEST_LOAD - 3]}...") + by


def _raw_absent(record: Mapping[str, Any]) -> str:
    """Return why there is no efficiency, where only the model in process is to blame and was not left out."""
    absent = str((record.get("raw") or {}).get("absent") or "")
    only = absent == record.get("serving_efficiency_absent") and absent not in (
        NO_RAW.absent,
        RAW_LEFT_OUT.absent,
    )
    return absent if only else ""
