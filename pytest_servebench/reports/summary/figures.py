"""The figures of a case in a summary: value, interval, and why one of them is not there (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from pytest_servebench.comparison.intervals import FEWEST, Interval
from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.summary.cases import SummaryCase
from pytest_servebench.reports.table import Column, winners
from pytest_servebench.reports.whole_records import LACKS, NOT_KEPT

ONCE = "measured once, so nothing tells how starts differ: --serve-repeats=5"
NOT_RESTARTED = "its server was not restarted, so nothing tells how its starts differ"
TOO_FEW = "fewer than two valid repeats have it"
NOT_MEASURED = "it was not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryFigure:
    """One figure of a summary."""

    name: str
    """With its unit, where it has one: ``response_time_p95_ms``."""
    unit: str
    value: Callable[[Row], float | None]
    why_absent: Callable[[Record], str]
    """Of a record that may be published and has none."""
    winner: Callable[[Sequence[float]], float] | None = None
    """`min` or `max`; None: nothing is best."""
    of_the_load: bool = False
    """Whether answers that may not be published have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A figure of one case."""

    value: float | None
    absent: str
    """Why there is no value; empty where there is one."""
    interval: Interval | None
    """95%, over repeats."""
    interval_absent: str


def _of_telemetry(name: str) -> Callable[[Record], str]:
    return lambda record: str((record["telemetry"].get("absent") or {}).get(name) or "")


def _field(name: str) -> Callable[[Record], str]:
    return lambda record: str(record.get(name) or "")


def _closed_loop(record: Record) -> str:
    return "a closed loop intends no instants" if record["load"].get("arrivals", "closed") == "closed" else ""


def _capacity(record: Record) -> str:
    capacity = record.get("capacity")
    return str(capacity.get("reason") or "") if capacity else "no capacity was looked for"


def _already_up(_record: Record) -> str:
    return "its server was already up"


def _nothing(_record: Record) -> str:
    return ""


def _figure(name: str, unit: str, why_absent: Callable[[Record], str], **more: Any) -> SummaryFigure:  # noqa: ANN401 (the rest of its fields)
    return SummaryFigure(name=name, unit=unit, value=attrgetter(name), why_absent=why_absent, **more)


FIGURES = (
    _figure("response_time_p50_ms", "ms", _nothing, winner=min, of_the_load=True),
    _figure("response_time_p95_ms", "ms", _nothing, winner=min, of_the_load=True),
    _figure("response_time_p99_ms", "ms", _nothing, of_the_load=True),
    _figure("service_time_p95_ms", "ms", _nothing, of_the_load=True),
    _figure("send_lag_p99_ms", "ms", _closed_loop),
    _figure("images_per_s", "images/s", _nothing, winner=max, of_the_load=True),
    _figure("capacity_per_s", "requests/s", _capacity, winner=max),
    _figure("serving_efficiency", "", _field("serving_efficiency_absent"), winner=max, of_the_load=True),
    _figure("server_cpu_cores", "cores", _of_telemetry("server_cpu_cores")),
    _figure("gpu_utilization_percent", "%", _of_telemetry("gpu_utilization_percent")),
    _figure("gpu_power_w", "W", _of_telemetry("gpu_power_w")),
    _figure("joules_per_image", "J/image", _of_telemetry("joules_per_image"), winner=min, of_the_load=True),
    _figure("memory_gb", "GB", _of_telemetry("server_memory_bytes")),
    _figure("images_per_s_per_gb", "images/s/GB", _of_telemetry("server_memory_bytes"), winner=max),
    _figure("batch_size_achieved", "images", _of_telemetry("batch_size_achieved")),
    _figure("cold_start_s", "s", _already_up),
)
"""In the order of columns."""


def told(figure: SummaryFigure, case: SummaryCase) -> Told:
    """Return a figure of a case, with the reasons for what it lacks."""
    value = figure.value(case.row)
    across = case.row.across(figure.value)
    interval = None if value is None or across is None else across.interval
    absent = "" if value is not None else _why(figure, case.records[0])
    return Told(
        value=value,
        absent=absent,
        interval=interval,
        interval_absent="" if interval is not None else absent or _why_no_interval(figure, case.row),
    )


def best_of(cases: Sequence[SummaryCase]) -> dict[str, set[int]]:
    """Return by figure which of ``cases``, one run's, are best among those that were asked alike."""
    rows = [case.row for case in cases]
    columns = [
        Column(header=each.name, value=each.value, sacrifice=0, winner=each.winner) for each in FIGURES
    ]
    return {column.header: winners(column, rows) for column in columns}


def _why(figure: SummaryFigure, record: Record) -> str:
    if any(figure.name.startswith(name.removesuffix("_ms")) for name in record.get(LACKS, ())):
        return NOT_KEPT
    if figure.of_the_load and not record["publishable"]:
        return f"{record['validity']}: {record['reason']}".rstrip(": ")
    return figure.why_absent(record) or NOT_MEASURED


def _why_no_interval(figure: SummaryFigure, row: Row) -> str:
    if not row.replicates:
        return ONCE
    if not row.restarted:
        return NOT_RESTARTED
    found = [value for one in row.valid if (value := figure.value(one)) is not None]
    return TOO_FEW if len(found) < FEWEST else "its values have no logarithm"
