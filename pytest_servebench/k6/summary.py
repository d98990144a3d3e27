"""k6's own end-of-test summary: for the record, and against what was read of every request (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

import numpy as np

from pytest_servebench.k6.output import PREDICTIONS, K6Output

TREND_STATS = "avg,min,med,max,p(90),p(95),p(99),count"
TOLERANCE_SHARE = 1e-3
TOLERANCE_MS = 1e-3
_RANKS = {"med": 50, "p(95)": 95, "p(99)": 99}


def disagreement(summary: Mapping[str, Any], output: K6Output) -> str:
    """Return where the summary differs from the requests that were read, in words; empty: nowhere.

    Both speak of the whole run, warm-up included. Counts must be equal; p50, p95 and p99 of
    ``http_req_duration``, which k6 interpolates as numpy does, may differ by 0.1% + 1 us.
    """
    failed = checks_of(summary).get(PREDICTIONS, {}).get("fails", 0)
    differences = list(_differences(summary.get("metrics", {}), output))
    if failed != len(output.no_predictions):
        differences.append(
            f"failed checks of predictions: {failed} in the summary, {len(output.no_predictions)} one by one"
        )
    return "; ".join(differences)


def _differences(metrics: Mapping[str, Any], output: K6Output) -> Iterator[str]:
    counts = {"http_reqs": len(output), "dropped_iterations": len(output.dropped_ns)}
    for name, seen in counts.items():
        told = metrics.get(name, {}).get("count", 0)
        if told != seen:
            yield f"{name}: {told} in the summary, {seen} written one by one"
    if not len(output):
        return
    found = np.percentile(np.array(output.duration_ns) / 1e6, list(_RANKS.values()))
    times = metrics.get("http_req_duration", {})
    for name, seen_ms in zip(_RANKS, found, strict=True):
        told_ms = times.get(name)
        if told_ms is None or not isclose(told_ms, seen_ms, rel_tol=TOLERANCE_SHARE, abs_tol=TOLERANCE_MS):
            yield f"http_req_duration {name}: {told_ms} ms in the summary, {seen_ms:.6g} ms by its requests"


def checks_of(summary: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return how often each check of the script passed and failed."""
    checks = summary.get("root_group", {}).get("checks", {})
    return {name: {word: one[word] for word in ("passes", "fails")} for name, one in checks.items()}


def report_of(
    summary: Mapping[str, Any], *, version: str, scenario: Mapping[str, Any], open_loop: bool
) -> dict[str, Any]:
    """Return what the record says under ``k6``; its metrics are those of the whole run, warm-up included."""
    report = {
        "version": version,
        "scenario": dict(scenario),
        "checks": checks_of(summary),
        "metrics": summary.get("metrics", {}),
        "response_time": "k6 counts from the send: service and response time are the same here",
    }
    if open_loop:
        report["absent"] = {"send_lag_ms": "k6 does not tell when a request was due, only when it was sent"}
    return report
