"""Records and files as a session saves them, made up, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_servebench.plan import ModelFormat
from pytest_servebench.record import make_record, plain
from pytest_servebench.results import Served
from tests.made_up import SETTINGS, made_up_case, made_up_result

PACKAGES = {
    "pytest-servebench": "0.1.0",
    "pytest": "9.0",
    "numpy": "2.0",
    "torch": "2.9",
    "onnxruntime": "1.20",
    "fastapi": "0.120",
    "torchserve": "0.12",
    "nvidia-pytriton": "0.7",
}
MACHINE: dict[str, Any] = {
    "cpu": "Abacus 2000",
    "cores_usable": 8,
    "memory_bytes": 2**34,
    "kernel": "6.1",
    "system": "Linux",
    "python": "CPython 3.11.7",
    "gpus": ["RTX 4090", "RTX 4090"],
    "gpu_driver": "555.1",
    "packages": PACKAGES,
}
SERVED = Served(
    engine="onnxruntime 1.20",
    provider="CPUExecutionProvider",
    device="cpu",
    precision="fp32",
    nodes={"CPUExecutionProvider": 124},
    options={"decoder": "pillow", "io_binding": "off"},
)


def saved_record(
    *,
    stack: str = "fastapi",
    model_format: ModelFormat = ModelFormat.ONNX,
    batch: int = 8,
    repeat: int | None = None,
    machine: dict[str, Any] | None = None,
    slower: float = 1.0,
    result: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return one record as a saved file has it; ``changes`` are of its fields, ``result`` of what made it."""
    case = replace(made_up_case(stack, model_format, batch), repeat=repeat)
    times = [slower * each for each in (4.0, 5.0, 6.0, 9.0)]
    made = make_record(
        made_up_result(times, case=case, **{"served": SERVED, **(result or {})}),
        plan=SETTINGS,
        machine={**MACHINE, **(machine or {})},
        artifact_sha256="a" * 64,
    )
    test = f"bench/test_it.py::test_speed[{case.id}]"
    return {**made, "test": test, "benchmark": "test_speed", "measurement": 1, **plain(changes)}


def repeats(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Return so many replicates of one case."""
    return [saved_record(repeat=number, slower=1 + number / 100, **changes) for number in range(1, count + 1)]


def save(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    run_id: str = "",
    *,
    facts: Mapping[str, Any] | None = None,
    commit: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run as pytest-benchmark does, as far as we read it; ``facts`` are other than usual."""
    usual = {"started": "2026-11-20T08:00:00+00:00"} if facts is None else facts
    run = {"schema": 1, "run_id": run_id or path.stem, "plan": {}, "machine": MACHINE, **usual}
    content: dict[str, Any] = {
        "benchmarks": [],
        "commit_info": commit,
        "servebench": {**run, "records": list(records)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
