"""The record of one measured case, as plain JSON types under a schema version; see docs/record.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from pytest_servebench.arrivals import CLOSED, text_of
from pytest_servebench.efficiency import efficiency_of
from pytest_servebench.plan import Case, Device, Engine, Load, Plan
from pytest_servebench.results import CaseResult, Summary, Telemetry, Verdict, Verification
from pytest_servebench.staged.record import stage_records
from pytest_servebench.statistics.distributions import (
    histogram_facts,
    timeline_facts,
    within_run_facts,
)
from pytest_servebench.statistics.kept_times import samples_facts

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; a new field does not raise it."""

MISMATCH_CAP = 20
"""Mismatches kept in words; their number is always whole."""

BYTES_PER_GB = 1e9

Json: TypeAlias = Any
"""A value of JSON's own types."""


def plain(value: object) -> Json:
    """Return ``value`` as exactly the types JSON and execnet know.

    Enum members become their word, dataclasses and mappings dicts, NaN and
    infinity None; anything unknown becomes its ``id`` or its text.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, Enum):
        return value.name.lower() if isinstance(value, int) else str(value.value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return _plain_leaf(value)


def _plain_leaf(value: object) -> Json:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        items: Iterable[object] = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [plain(item) for item in items]
    return str(value)


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return every field of ``plan`` in plain types, for the run's metadata."""
    return {
        **plain(plan),
        "device": str(plan.device),
        "lane": plan.lane.name,
        "cpu_set": plan.lane.cpu_set or None,
        "arrivals": text_of(plan.arrivals),
        "objective": str(plan.objective),
    }


def make_record(
    result: CaseResult,
    *,
    plan: Mapping[str, Any],
    machine: Mapping[str, Any],
    verdict: Verdict | None = None,
    artifact_sha256: str | None = None,
    monitoring: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Return all that is known of one case, ready for JSON.

    ``plan`` is what `plan_facts` returns (its lane, repeats, ``settings`` and ``quick`` are kept),
    ``machine`` the facts of the host, ``monitoring`` where the server is watched. A result that is
    not publishable keeps its reason and its counts, and has no percentiles and no throughput.
    """
    record = {
        "schema": SCHEMA,
        "case": _case(result.case),
        "load": _load(result.case.load),
        "artifact_sha256": artifact_sha256,
        "monitoring": monitoring,
        **_served(result),
        **_surroundings(result, plan),
        "validity": result.validity,
        "reason": result.reason,
        "publishable": result.publishable,
        "verdict": verdict,
        **_measured(result.summary, result.publishable, result.case.deployment.device),
        **_drawn(result),
        **_compared_in_process(result),
        **_sent(result),
        "telemetry": result.telemetry,
        "verification": {"before": _verification(result.before), "during": _verification(result.during)},
        "capacity": _capacity(result),
        **_replicate(result, plan),
        "machine": machine,
        "figures": _figures(result),
    }
    checked: dict[str, Any] = plain(record)
    return checked


def choices(record: Mapping[str, Any]) -> dict[str, str | int]:
    """Return what was chosen for the case, one word or number each, to group benchmarks by."""
    names = (
        "stack",
        "model",
        "format",
        "precision",
        "payload",
        "protocol",
        "max_batch_size",
        "items_per_request",
    )
    return {name: record["case"][name] for name in names}


def comparable(record: Mapping[str, Any]) -> str:
    """Return the name of the group of comparable cases: inside it only stack, format and precision differ."""
    case, load = record["case"], record["load"]
    arrivals = load.get("arrivals", CLOSED)
    pace = f"in_flight={load.get('concurrency')}" if arrivals == CLOSED else f"arrivals={arrivals}"
    if case.get("objective"):  # its rate is what was looked for, and differs from stack to stack
        pace = f"objective={case['objective']}"
    pace += f" workers={len(load['workers'])}" if load.get("workers") else ""
    engine = load.get("engine", Engine.SERVEBENCH)
    pace += f" engine={engine}" if engine != Engine.SERVEBENCH else ""
    return (
        f"{record['benchmark']} {case['model']} {case['payload']}/{case['protocol']}"
        f" batch={case['max_batch_size']} items={case['items_per_request']} {pace}"
    )


def word(value: object) -> Json:
    """Return a test's parameter as one word or number: a case as its ``id``, an object as its text."""
    checked = plain(value)
    return getattr(value, "id", str(value)) if isinstance(checked, (dict, list)) else checked


def _case(case: Case) -> dict[str, Any]:
    outer = {name: value for name, value in plain(case).items() if name not in ("deployment", "load")}
    inner = {**plain(case.deployment), "device": str(case.deployment.device)}
    objective = None if case.objective is None else str(case.objective)
    return {"id": case.id, **inner, **outer, "objective": objective}


def _served(result: CaseResult) -> dict[str, Any]:
    """Return what was served, by what, and where."""
    return {
        "model": result.case.deployment.model,
        "weights": result.weights,
        "backend": result.backend,
        "served": result.served,
        "launcher": result.endpoint.launcher,
        "container": result.endpoint.container,
        "device": str(result.case.deployment.device),
        "cold_start_s": result.cold_start_s,
    }


def _surroundings(result: CaseResult, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the case had to itself, and under which settings."""
    return {
        "lane": plan.get("lane"),
        "cpu_set": plan.get("cpu_set"),
        "waited_s": result.waited_s,
        "settings": plan.get("settings", {}),
        "quick": plan.get("quick", False),
    }


def _sent(result: CaseResult) -> dict[str, Any]:
    """Return how the load went, and what became of its parts."""
    return {
        "stages": stage_records(result),
        "scaling": result.scaling,
        "workers": _workers(result),
        "first_error": result.samples.first_error if result.samples else "",
        "k6": _k6(result),
    }


def _drawn(result: CaseResult) -> dict[str, Any]:
    """Return how the figures vary; nothing of it where they may not be published."""
    samples, publishable = result.samples, result.publishable
    return {
        "samples": samples_facts(result),
        "histogram": histogram_facts(samples, publishable=publishable),
        "within_run": within_run_facts(samples, result.case.load, publishable=publishable),
        "timeline": timeline_facts(samples, publishable=publishable),
    }


def _compared_in_process(result: CaseResult) -> dict[str, Any]:
    """Return what client and model can do by themselves."""
    efficiency = efficiency_of(result)
    return {
        "ceiling_absent": result.ceiling.absent,
        "raw": result.raw,
        "serving_efficiency": efficiency.share,
        "serving_efficiency_absent": efficiency.absent,
    }


def _replicate(result: CaseResult, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return which of how many replicates it is, and whether it has a server's start of its own."""
    repeat = result.case.repeat
    repeats = 1 if repeat is None else plan.get("repeats", repeat)
    return {"repeat": repeat, "repeats": repeats, "restarted": result.restarted}


def _capacity(result: CaseResult) -> dict[str, Any] | None:
    """Return what the search found, each trial with its verdict; None for a case without an objective."""
    if result.capacity is None:
        return None
    trials = [{**plain(trial), "verdict": trial.verdict} for trial in result.capacity.trials]
    return {**plain(result.capacity), "trials": trials}


def _load(load: Load) -> dict[str, Any]:
    """Return the load's fields, its arrivals as their text; an open loop keeps no number in flight."""
    objective = None if load.objective is None else str(load.objective)
    given = {**plain(load), "arrivals": text_of(load.arrivals), "objective": objective}
    return given if load.arrivals is None else {**given, "concurrency": None}


def _k6(result: CaseResult) -> dict[str, Any] | None:
    """Return what k6 says of its load; None where another engine made it, or none did."""
    if result.samples is None or result.case.load.engine is not Engine.K6:
        return None
    return dict(result.samples.engine_report)


def _measured(summary: Summary | None, publishable: bool, device: Device) -> dict[str, Any]:
    def shown(name: str) -> Any:  # noqa: ANN401 (a number, or an interval of two)
        return getattr(summary, name) if publishable else None

    def counted(name: str) -> float | None:
        return None if summary is None else getattr(summary, name)

    times = ("p50", "p95", "p99", "mean", "min", "max")
    counts = ("correct", "wrong", "errors", "timeouts", "dropped")
    return {
        "window_s": None if summary is None else summary.window_s,
        "warmup_s": counted("warmup_s"),
        "settled": counted("settled"),
        "response_time_ms": {name: shown(f"response_time_{name}_ms") for name in times},
        "response_time_p95_ci_ms": shown("response_time_p95_ci_ms"),
        "service_time_ms": {name: shown(f"service_time_{name}_ms") for name in times[:3]},
        "send_lag_ms": {name: counted(f"send_lag_{name}_ms") for name in ("p50", "p99")},
        "offered_per_s": counted("offered_per_s"),
        "achieved_per_s": counted("achieved_per_s"),
        "throughput_per_s": shown("throughput_per_s"),
        "throughput_ci_per_s": shown("throughput_ci_per_s"),
        "images_per_s": shown("images_per_s"),
        "images_per_s_per_gpu": of_each_gpu(shown("images_per_s"), str(device)),
        "counts": {name: counted(name) for name in counts},
        "client_cpu_share": None if summary is None else summary.client_cpu_share,
        "client_cpu_shares": {} if summary is None else summary.client_cpu_shares,
        "ceiling_per_s": None if summary is None else summary.ceiling_per_s,
    }


def gpus_in(device: str) -> int:
    """Return how many GPUs a record's device is, as in ``cuda:0,1``; 0 for a CPU."""
    kind, _, indexes = device.partition(":")
    return len(indexes.split(",")) if kind == "cuda" else 0


def of_each_gpu(images_per_s: float | None, device: str) -> float | None:
    """Return what each GPU does of it; None where the server was given none."""
    gpus = gpus_in(device)
    return images_per_s / gpus if images_per_s is not None and gpus else None


def _workers(result: CaseResult) -> list[dict[str, Any]]:
    """Return what each worker did; nothing where this process sent."""
    clients = result.samples.clients if result.samples else ()
    return [
        {"name": one.worker, "sent": one.sent, "clock_uncertainty_ms": one.clock_uncertainty_ns / 1e6}
        for one in clients
    ]


def _verification(verification: Verification | None) -> dict[str, Any] | None:
    if verification is None:
        return None
    words: Sequence[str] = verification.mismatches
    return {
        **plain(verification),
        "mismatches": list(words[:MISMATCH_CAP]),
        "mismatch_count": len(words),
    }


def _figures(result: CaseResult) -> dict[str, float | None]:
    """Return the figures under the names the reference gives them; None where one is missing."""
    summary, telemetry = result.summary, result.telemetry
    shown = summary if result.publishable else None
    memory_bytes = _memory_bytes(telemetry)
    return {
        "latency_p50": None if shown is None else shown.response_time_p50_ms,
        "latency_p95": None if shown is None else shown.response_time_p95_ms,
        "throughput_rps": None if shown is None else shown.throughput_per_s,
        "gpu_utilization": telemetry.gpu_utilization_percent,
        "memory_usage_gb": None if memory_bytes is None else memory_bytes / BYTES_PER_GB,
        "avg_batch_size": telemetry.batch_size_achieved,
    }


def _memory_bytes(telemetry: Telemetry) -> int | None:
    """Return GPU memory where a GPU was read, else the memory of the server's process tree."""
    if telemetry.gpu_memory_bytes is not None:
        return telemetry.gpu_memory_bytes
    return telemetry.server_memory_bytes
