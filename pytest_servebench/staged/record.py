"""The stages of a load in its record, as plain types; see docs/record.md."""

from __future__ import annotations

from typing import Any

from pytest_servebench.results import CaseResult, Validity
from pytest_servebench.staged.outcomes import StageResult


def stage_records(result: CaseResult) -> list[dict[str, Any]]:
    """Return the stages of a staged load; answers that are wrong were fast for nothing."""
    hidden = result.validity is Validity.WRONG_OUTPUT
    return [_stage(stage, hidden=hidden) for stage in result.stages]


def _stage(stage: StageResult, *, hidden: bool) -> dict[str, Any]:
    same = ("number", "kind", "begin_per_s", "end_per_s", "begin_s", "duration_s", "ran_s")
    counts = ("offered", "correct", "wrong", "errors", "timeouts", "dropped")
    return {
        **{name: getattr(stage, name) for name in (*same, "offered_per_s", "achieved_per_s")},
        "counts": {name: getattr(stage, name) for name in counts},
        "response_time_ms": {
            name: None if hidden else getattr(stage, f"response_time_{name}_ms")
            for name in ("p50", "p95", "p99")
        },
        "send_lag_p99_ms": stage.send_lag_p99_ms,
        "checks": {
            "status_share": stage.status_share,
            "on_time_share": None if hidden else stage.on_time_share,
            "predictions_compared": stage.compared,
            "predictions_wrong": stage.wrong,
        },
        "verdict": stage.verdict,
        "reason": stage.reason,
    }
