"""Records with figures that findings look at, made up, for tests of findings only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_servebench.plan import ModelFormat, Payload, Precision
from pytest_servebench.record import make_record, plain
from tests.made_up import MACHINE, SETTINGS, made_up_case, made_up_result

STEADY = (1.0, 1.01, 0.99, 1.005, 0.995)
"""Five starts of a server that differ by about half a per cent."""


def found_record(
    images_per_s: float | None = 100.0,
    *,
    stack: str = "triton",
    model_format: ModelFormat = ModelFormat.ONNX,
    precision: Precision = Precision.FP32,
    batch: int = 8,
    in_flight: int = 16,
    p95_ms: float | None = 9.0,
    mean_ms: float | None = 10.0,
    payload: Payload = Payload.TENSOR,
    repeat: int | None = None,
    repeats: int = 1,
    benchmark: str = "test_throughput",
    telemetry: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a valid record; ``telemetry`` are changes of what is told beside the load."""
    case = made_up_case(stack, model_format, batch)
    load = replace(case.load, concurrency=in_flight)
    deployment = replace(case.deployment, precision=precision)
    case = replace(case, deployment=deployment, load=load, payload=payload, repeat=repeat)
    made = plain(
        make_record(made_up_result(case=case), plan={**SETTINGS, "repeats": repeats}, machine=MACHINE)
    )
    told = {
        "queue_time_ms": 2.0,
        "compute_time_ms": 7.0,
        "executions": 200,
        "counters_offset_s": [0.01, 0.01],
        **(telemetry or {}),
    }
    return {
        **made,
        "images_per_s": images_per_s,
        "response_time_ms": {**made["response_time_ms"], "p95": p95_ms, "mean": mean_ms},
        "telemetry": {**made["telemetry"], **told},
        "benchmark": benchmark,
        "test": f"b.py::{benchmark}[{case.id}]",
        "measurement": 1,
        **changes,
    }


def found_replicates(
    images_per_s: float, factors: Sequence[float] = STEADY, **changes: Any
) -> list[dict[str, Any]]:
    """Return replicates of one case, each so many times as fast; their p95 are as much shorter."""
    p95_ms = changes.pop("p95_ms", 900 / images_per_s)
    return [
        found_record(
            images_per_s * factor,
            p95_ms=p95_ms / factor,
            repeat=number,
            repeats=len(factors),
            **changes,
        )
        for number, factor in enumerate(factors, start=1)
    ]
