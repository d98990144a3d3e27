"""Rows and columns of the result table: pure functions from plain records to cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.arrivals import CLOSED
from pytest_servebench.comparison.intervals import AcrossRuns, across_runs, overlap
from pytest_servebench.plan import Engine
from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.results import NO_RAW, RAW_LEFT_OUT

CPU_HEADER = "CPU\ncores"
GPU_HEADER = "GPU\n%"
POWER_HEADER = "GPU\nW"
ENERGY_HEADER = "mJ per\nimage"
CAPACITY_HEADER = "holds\nper s"
EFFICIENCY_HEADER = "effi-\nciency"
P95_SPREAD, SPEED_SPREAD = "p95\n+-%", "images/s\n+-%"
LONGEST_LOAD = 24
BEST = "*"
VALID = "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case in the table; a figure that is missing is None."""

    benchmark: str
    stack: str
    model: str
    format: str
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
            warnings=tuple(telemetry.get("warnings", ())),
            raw_absent=_raw_absent(record),
        )

    @property
    def group(self) -> tuple[object, ...]:
        """What rows must share to be compared: everything but stack and format."""
        asked = (self.benchmark, self.model, self.payload, self.protocol, self.device)
        return (*asked, self.max_batch_size, self.items_per_request, self.load)

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
    def is_believed(self) -> bool:
        """Whether it is valid, in every repeat that there should be."""
        return self.validity == VALID and (not self.replicates or len(self.valid) == self.repeats)

    @property
    def millijoules_per_image(self) -> float | None:
        """What an image costs of the GPU's energy."""
        return None if self.joules_per_image is None else 1e3 * self.joules_per_image

    @property
    def verdict(self) -> str:
        """Validity, of how many repeats, and the gate's word where the run may be believed."""
        word = f"{VALID} {len(self.valid)}/{self.repeats}" if self.replicates else self.validity
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
            f"{self.benchmark} {self.stack} {self.format}, batch {self.max_batch_size},"
            f" {self.items_per_request} per request, {self.load}"
            + (f", repeat {self.repeat}" if self.repeat is not None else "")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: where its value comes from, which value wins, and when it may be left out."""

    header: str
    value: Callable[[Row], str | float | None]
    sacrifice: int
    """Columns with higher numbers go first when the terminal is narrow; 0 stays."""
    winner: Callable[[Sequence[float]], float] | None = None
    """`min` or `max`; None for a column without a race."""
    numeric: bool = True


def _spread(value: Callable[[Row], float | None]) -> Callable[[Row], str | None]:
    """Return a column's value: the longer arm of a figure's interval over repeats, in per cent of it."""

    def percent(row: Row) -> str | None:
        across = row.across(value)
        return None if across is None or across.width is None else f"{100 * across.width:.1f}"

    return percent


COLUMNS = (
    Column(header="stack", value=lambda row: row.stack, sacrifice=0, numeric=False),
    Column(header="format", value=lambda row: row.format, sacrifice=0, numeric=False),
    Column(header="model", value=lambda row: row.model, sacrifice=3, numeric=False),
    Column(header="payload", value=lambda row: row.payload, sacrifice=3, numeric=False),
    Column(header="protocol", value=lambda row: row.protocol, sacrifice=3, numeric=False),
    Column(header="max\nbatch", value=lambda row: row.max_batch_size, sacrifice=2),
    Column(header="per\nrequest", value=lambda row: row.items_per_request, sacrifice=2),
    Column(header="load", value=lambda row: row.load, sacrifice=5, numeric=False),
    Column(header=CAPACITY_HEADER, value=lambda row: row.capacity_per_s, sacrifice=0, winner=max),
    Column(header="replies", value=lambda row: row.replies, sacrifice=8),
    Column(header="p50\nms", value=lambda row: row.response_time_p50_ms, sacrifice=4, winner=min),
    Column(header="p95\nms", value=lambda row: row.response_time_p95_ms, sacrifice=0, winner=min),
    Column(header=P95_SPREAD, value=_spread(lambda row: row.response_time_p95_ms), sacrifice=1),
    Column(header="p99\nms", value=lambda row: row.response_time_p99_ms, sacrifice=9),
    Column(header="service\np95 ms", value=lambda row: row.service_time_p95_ms, sacrifice=7),
    Column(header="send lag\np99 ms", value=lambda row: row.send_lag_p99_ms, sacrifice=12),
    Column(header="images/s", value=lambda row: row.images_per_s, sacrifice=0, winner=max),
    Column(header=SPEED_SPREAD, value=_spread(lambda row: row.images_per_s), sacrifice=1),
    Column(header=EFFICIENCY_HEADER, value=lambda row: row.serving_efficiency, sacrifice=4, winner=max),
    Column(header=CPU_HEADER, value=lambda row: row.server_cpu_cores, sacrifice=6),
    Column(header=GPU_HEADER, value=lambda row: row.gpu_utilization_percent, sacrifice=6),
    Column(header=POWER_HEADER, value=lambda row: row.gpu_power_w, sacrifice=10),
    Column(header=ENERGY_HEADER, value=lambda row: row.millijoules_per_image, sacrifice=7, winner=min),
    Column(header="memory\nGB", value=lambda row: row.memory_gb, sacrifice=7),
    Column(header="images/s\nper GB", value=lambda row: row.images_per_s_per_gb, sacrifice=10, winner=max),
    Column(header="batch\nseen", value=lambda row: row.batch_size_achieved, sacrifice=8),
    Column(header="cold\nstart s", value=lambda row: row.cold_start_s, sacrifice=11),
    Column(header="verdict", value=lambda row: row.verdict, sacrifice=1, numeric=False),
)

OPEN_LOOP_HEADERS = ("service\np95 ms", "send lag\np99 ms")
"""Columns that say nothing new of a closed loop."""

TITLED = {
    "model": ", {}",
    "payload": ", {}",
    "protocol": " over {}",
    "per\nrequest": ", {} per request",
    "load": ", {}",
}
"""Columns that go into the title where all rows agree, and how they read there."""


def split_constants(rows: Sequence[Row]) -> tuple[str, list[Column]]:
    """Return the title's words for what all rows share, and the columns for the rest.

    The GPU column is shown where a GPU was asked for or read, the CPU column else; those of power and
    energy where a GPU told them, those of an open loop where there is one, efficiency where a row has it.
    """
    words, columns = [], []
    gpu = any(row.device != "cpu" or row.gpu_utilization_percent is not None for row in rows)
    unfit = {CPU_HEADER if gpu else GPU_HEADER}
    if all(row.gpu_power_w is None for row in rows):
        unfit.add(POWER_HEADER)
    if all(row.joules_per_image is None for row in rows):
        unfit.add(ENERGY_HEADER)
    if not any(row.capacity for row in rows):
        unfit.add(CAPACITY_HEADER)
    if all(row.serving_efficiency is None for row in rows):
        unfit.add(EFFICIENCY_HEADER)
    if not any(row.open_loop for row in rows):
        unfit.update(OPEN_LOOP_HEADERS)
    if not any(row.replicates for row in rows):
        unfit.update((P95_SPREAD, SPEED_SPREAD))
    for column in COLUMNS:
        values = {column.value(row) for row in rows}
        if column.header in TITLED and len(values) == 1:
            words.append(TITLED[column.header].format(*values))
        elif column.header not in unfit:
            columns.append(column)
    devices = ", ".join(sorted({row.device for row in rows}))
    return "".join([*words, f", on {devices}"]).removeprefix(",").strip(), columns


def cells(column: Column, rows: Sequence[Row]) -> list[str]:
    """Return a column's cells: numbers with equal decimals, winners marked, the missing as ``n/a``."""
    values = [column.value(row) for row in rows]
    if not column.numeric:
        return [str(value) for value in values]
    places = decimals([value for value in values if isinstance(value, float)])
    won = winners(column, rows)
    return [BEST * (at in won) + _number(value, places) for at, value in enumerate(values)]


def decimals(values: Sequence[float]) -> int:
    """Return how many decimals show three significant digits of the smallest value, at most two."""
    smallest = min((abs(value) for value in values if value), default=100.0)
    return sum(smallest < bound for bound in (100, 10))


def winners(column: Column, rows: Sequence[Row]) -> set[int]:
    """Return where the rows are that are best in their group; only valid rows race, and never alone.

    Where cases are repeated, none is best whose interval has a value in common with another's.
    """
    if column.winner is None:
        return set()
    found: set[int] = set()
    for group in dict.fromkeys(row.group for row in rows):
        racing = {
            at: float(value)
            for at, row in enumerate(rows)
            if row.group == group and row.is_believed and (value := column.value(row)) is not None
        }
        if len(racing) > 1:
            best = column.winner(list(racing.values()))
            first = {at for at, value in racing.items() if value == best}
            others = [rows[at] for at in racing if at not in first]
            found |= {at for at in first if _stands_out(column, rows[at], others)}
    return found


def _stands_out(column: Column, best: Row, others: Sequence[Row]) -> bool:
    """Return whether the best is so beyond chance, as far as there are replicates to tell."""
    if not any(row.replicates for row in (best, *others)):
        return True
    own, *rest = (row.across(column.value) for row in (best, *others))
    if own is None or own.interval is None or not rest:
        return False
    return not any(one is None or one.interval is None or overlap(own.interval, one.interval) for one in rest)


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


def _number(value: str | float | None, places: int) -> str:
    if value is None:
        return NOT_AVAILABLE
    return f"{value:,.{places}f}" if isinstance(value, float) else str(value)
