"""Made-up results, for tests of records and reports only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_servebench.capacity import Capacity, Ending, Trial
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.plan import Case, Deployment, Load, ModelFormat
from pytest_servebench.results import (
    Breach,
    CaseResult,
    Endpoint,
    Judgement,
    Summary,
    Telemetry,
    Validity,
    Verdict,
    Verification,
)
from pytest_servebench.samples import Outcome, Samples, Tally
from pytest_servebench.statistics.early_stopping import Finding
from pytest_servebench.statistics.tallies import Instants, Outcomes, TallySheet

MACHINE = {"cpu": "made-up CPU", "gpu": "made-up GPU", "driver": "1.2.3"}
SETTINGS: dict[str, Any] = {"settings": {"stack": "all"}, "quick": False}


def made_up_case(stack: str = "triton", model_format: ModelFormat = ModelFormat.ONNX, batch: int = 8) -> Case:
    """Return a case with twice ``batch`` requests in flight."""
    deployment = Deployment(stack=stack, model="resnet50", format=model_format, max_batch_size=batch)
    return Case(deployment=deployment, load=Load(concurrency=2 * batch, duration_s=2.0))


def tally_of(intended_ns: Instants, sent_ns: Instants, received_ns: Instants, outcome: Outcomes) -> Tally:
    """Return the tally of rows that all ended, their send lags included."""
    sheet = TallySheet()
    sheet.ended(intended_ns, sent_ns, received_ns, outcome)
    sheet.begun(intended_ns, sent_ns)
    return sheet.tally()


def made_up_samples(times_ms: Sequence[float], spread_s: float = 2.0) -> Samples:
    """Return correct samples with these response times, all ending inside a window of ``spread_s``."""
    received = np.linspace(0, spread_s * 1e9, len(times_ms), endpoint=False).astype(np.int64) + 10**12 + 1
    intended = received - np.asarray([round(ms * 1e6) for ms in times_ms], dtype=np.int64)
    return Samples(
        intended_ns=intended,
        sent_ns=intended,
        received_ns=received,
        outcome=np.full(len(times_ms), Outcome.OK, dtype=np.uint8),
        request_index=np.zeros(len(times_ms), dtype=np.int32),
        window_ns=(10**12, 10**12 + round(spread_s * 1e9)),
    )


def made_up_result(
    times_ms: Sequence[float] = (4.0, 5.0, 6.0, 9.0), *, case: Case | None = None, **changes: Any
) -> CaseResult:
    """Return a valid result over a window of two seconds, with ``changes`` in its fields."""
    p50, p95, p99 = np.percentile(times_ms, [50, 95, 99])
    summary = Summary(
        window_s=2.0,
        correct=len(times_ms),
        response_time_p50_ms=float(p50),
        response_time_p95_ms=float(p95),
        response_time_p99_ms=float(p99),
        response_time_mean_ms=float(np.mean(times_ms)),
        response_time_min_ms=min(times_ms),
        response_time_max_ms=max(times_ms),
        throughput_per_s=len(times_ms) / 2.0,
        images_per_s=len(times_ms) / 2.0,
        client_cpu_share=0.25,
    )
    given: dict[str, Any] = {
        "case": case or made_up_case(),
        "backend": "made-up backend",
        "weights": "seeded-random:0",
        "endpoint": Endpoint(stack="triton", host="127.0.0.1", ports={"http": 1}, launcher="process"),
        "validity": Validity.VALID,
        "samples": made_up_samples(times_ms),
        "summary": summary,
        "telemetry": Telemetry(
            server_cpu_cores=1.5,
            server_memory_bytes=1_200_000_000,
            batch_size_achieved=3.5,
            absent={"gpu_utilization_percent": "no NVIDIA driver"},
        ),
        "before": Verification(compared=8, tolerance=1e-3, worst_difference=1e-5),
        "cold_start_s": 3.25,
    }
    return CaseResult(**{**given, **changes})


def made_up_capacity(held_per_s: float = 135.0) -> Capacity:
    """Return a search that found a rate."""
    tried = ((held_per_s, Finding.PASS), (141.0, Finding.FAIL))
    probes = tuple(
        Trial(rate_per_s=rate, finding=finding, requests=300, percentile_ms=45.5) for rate, finding in tried
    )
    return Capacity(
        objective=str(DEFAULT_OBJECTIVE),
        ending=Ending.FOUND,
        start_per_s=100.0,
        last_passing_per_s=held_per_s,
        first_failing_per_s=141.0,
        trials=(*probes, Trial(rate_per_s=held_per_s, sustained=True, finding=Finding.PASS)),
        reason="made up",
    )


def wrong_result(case: Case | None = None) -> CaseResult:
    """Return a result whose outputs were wrong, with the speed it would have claimed."""
    return made_up_result(
        case=case,
        validity=Validity.WRONG_OUTPUT,
        reason="7 of 8 answers differ from the reference",
        during=Verification(compared=8, mismatches=("image 3 was answered with image 4's classes",)),
    )


BREACH = Verdict(
    judgement=Judgement.FAIL,
    breaches=(
        Breach(
            metric="response_time_p95_ms",
            limit=8.0,
            seen=8.55,
            profile="made-up",
            sentence="p95 8.55 ms exceeds its limit 8 ms by 6.9 %",
        ),
    ),
)
