"""Made-up runs for tests of plots, and what a plot's specification draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.plots.plot import Plot
from tests.saved_records import saved_record

ANSWERED = {
    "queue_time_ms": 1.0,
    "compute_time_ms": 2.0,
    "counters_offset_s": [0.001, 0.001],
    "gpu_utilization_percent": 80.0,
    "joules_per_image": 0.25,
}


def run_of(*records: Mapping[str, Any], name: str = "monday") -> SavedRun:
    """Return a run of these records."""
    return SavedRun(name=name, records=records)


def told(record: Mapping[str, Any], **telemetry: Any) -> dict[str, Any]:
    """Return the record with more telemetry."""
    return {**record, "telemetry": {**record["telemetry"], **ANSWERED, **telemetry}}


def full_run() -> SavedRun:
    """Return a run in which every figure was read."""
    efficient: dict[str, Any] = {"serving_efficiency": 0.9}
    made = (
        saved_record(stack=stack, model_format=each, **efficient)
        for stack in ("fastapi", "triton")
        for each in (ModelFormat.ONNX, ModelFormat.PYTORCH)
    )
    return run_of(*map(told, made))


def staged(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record as one of a staged load of two stages."""
    stage = {"kind": "hold", "ran_s": 1.0, "verdict": "pass", "reason": ""}
    stages = [
        {**stage, "number": 1, "begin_s": 1.0, "begin_per_s": 10, "end_per_s": 10},
        {**stage, "number": 2, "begin_s": 2.0, "begin_per_s": 10, "end_per_s": 20},
    ]
    columns = {
        "begin_s": [-1.0, 0.0, 1.0],
        "length_s": [1.0, 1.0, 1.0],
        "offered": [5, 10, 20],
        "sent": [5, 10, 18],
        "correct": [5, 10, 15],
        "failed": [0, 0, 3],
        "dropped": [0, 0, 2],
        "response_time_p50_ms": [1.0, 2.0, None],
        "response_time_p95_ms": [1.0, 2.0, None],
    }
    load = {**record["load"], "arrivals": "stages:0:1s:10,1s:20", "concurrency": None}
    return {**record, "load": load, "stages": stages, "warmup_s": 1.0, "timeline": columns}


def at_load(concurrency: int, slower: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Return a record of a case with so many requests in flight."""
    record = saved_record(slower=slower, **changes)
    load = {**record["load"], "concurrency": concurrency}
    return {**record, "load": load, "test": f"bench/test_it.py::test_speed[c{concurrency}]"}


def drawn(plots: tuple[Plot, ...], name: str) -> Plot:
    """Return the plot of that name."""
    return next(plot for plot in plots if plot.name == name)


def data_of(spec: Any) -> Iterator[dict[str, Any]]:
    """Yield every datum in a specification."""
    if isinstance(spec, Mapping):
        if isinstance(spec.get("values"), list) and set(spec) == {"values"}:
            yield from spec["values"]
        for part in spec.values():
            yield from data_of(part)
    elif isinstance(spec, (list, tuple)):
        for part in spec:
            yield from data_of(part)


def bars_in(plot: Plot) -> list[dict[str, Any]]:
    """Return the bars of a plot, each once, though its marks share its datum."""
    found = {datum["line"]: datum for datum in data_of(plot.spec) if "says" in datum}
    return list(found.values())
