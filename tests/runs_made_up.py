"""Made-up saved runs, for tests of comparisons and histories only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_servebench.comparison.replicates import replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun
from tests.compared import measured
from tests.saved_records import save as save_records

MACHINE = {"cpu": "made-up CPU", "cores_usable": 8, "gpus": ["made-up GPU"], "packages": {"numpy": "2.0"}}
LOAD = {"concurrency": 16, "arrivals": "closed"}
STEADY = (10.0, 10.1, 9.9, 10.05, 9.95)
"""Replicates of an unremarkable case."""


def made_up_record(
    p95_ms: float | None = 10.0, *, test: str = "test_speed", stack: str = "triton", **changes: Any
) -> dict[str, Any]:
    """Return what a comparison reads of a record; its throughput is 1000 / p95, its p50 half of p95."""
    case_id = f"{stack}-onnx"
    figures: dict[str, float | None] = {
        "p50": p95_ms and p95_ms / 2,
        "p95": p95_ms,
        "p99": p95_ms and p95_ms * 1.5,
        "throughput": p95_ms and 1000 / p95_ms,
        "memory": 1.5,
    }
    facts: dict[str, Any] = {
        "schema": 1,
        "test": f"test_it.py::{test}[{case_id}]",
        "benchmark": test,
        "case": {"id": case_id, "stack": stack, "repeat": None},
        "load": LOAD,
        "launcher": "process",
        "device": "cpu",
        "machine": MACHINE,
    }
    return {**measured(figures), **facts, **changes}


def made_up_run(
    name: str, values_ms: Sequence[float | None] = STEADY, *, started: str = "", **changes: Any
) -> SavedRun:
    """Return a run of one case with these p95 in its replicates."""
    records = tuple(made_up_record(value, **changes) for value in values_ms)
    return SavedRun(name=name, records=records, facts=({"started": started},) if started else ())


def joined(name: str, *runs: SavedRun) -> SavedRun:
    """Return runs of several cases as one."""
    return SavedRun(
        name=name,
        records=tuple(record for run in runs for record in run.records),
        facts=tuple(facts for run in runs for facts in run.facts),
    )


def times(values: Sequence[float], factor: float) -> tuple[float, ...]:
    """Return replicates that became slower by a factor."""
    return tuple(value * factor for value in values)


def save(path: Path, run: SavedRun, *, commit: Mapping[str, Any] | None = None) -> Path:
    """Write a run as pytest-benchmark would, its replicates with their repeats, and return where."""
    facts = run.facts[0] if run.facts else {}
    records = [
        _of_repeat(record, number) if len(replicates) > 1 else record
        for replicates in replicates_of(run.records).values()
        for number, record in enumerate(replicates, 1)
    ]
    return save_records(path, records, run.name, facts=facts, commit=commit)


def _of_repeat(record: Mapping[str, Any], number: int) -> dict[str, Any]:
    case_id = record["case"]["id"]
    numbered = f"{case_id}-r{number}"
    case = {**record["case"], "id": numbered, "repeat": number}
    return {**record, "case": case, "test": record["test"].replace(case_id, numbered)}
