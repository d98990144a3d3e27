"""k6's own summary must be that of the requests that it wrote one by one."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.k6.summary import checks_of, disagreement, report_of
from tests.unit.k6.recorded import recorded, summary


def test_the_recorded_summary_agrees() -> None:
    """Counts, drops, failed checks, p50, p95 and p99 of the whole run, by another's arithmetic."""
    assert disagreement(summary(), recorded()) == ""


@pytest.mark.parametrize(
    ("metric", "field", "value", "told"),
    [
        ("http_reqs", "count", 16, "http_reqs: 16 in the summary, 15 written one by one"),
        ("dropped_iterations", "count", 0, "dropped_iterations: 0 in the summary, 10 written one by one"),
        ("http_req_duration", "med", 99.0, "http_req_duration med: 99.0 ms in the summary"),
        ("http_req_duration", "p(95)", 99.0, "http_req_duration p(95): 99.0 ms in the summary"),
        ("http_req_duration", "p(99)", None, "http_req_duration p(99): None ms in the summary"),
    ],
)
def test_a_difference_is_told(metric: str, field: str, value: Any, told: str) -> None:
    """Which figure, and what each side says."""
    changed = summary()
    changed["metrics"][metric][field] = value
    assert disagreement(changed, recorded()).startswith(told)


def test_failed_checks_are_compared_too() -> None:
    """A lost line of a check would make a wrong answer a right one."""
    changed = summary()
    changed["root_group"]["checks"]["has predictions"]["fails"] += 1
    assert disagreement(changed, recorded()).startswith("failed checks of predictions: ")


def test_no_summary_is_no_agreement() -> None:
    """Missing is not passing."""
    assert "http_reqs: 0 in the summary, 15 written one by one" in disagreement({}, recorded())


def test_the_report_has_what_the_record_shows() -> None:
    """Version, scenario, checks and metrics; an open loop says why it has no send lag."""
    scenario = {"executor": "constant-vus"}
    report = report_of(summary(), version="k6 v9", scenario=scenario, open_loop=True)
    assert (report["version"], report["scenario"]) == ("k6 v9", scenario)
    assert report["checks"]["status is 200"] == checks_of(summary())["status is 200"]
    assert report["metrics"]["http_reqs"]["count"] == 15
    assert report["absent"] == {
        "send_lag_ms": "k6 does not tell when a request was due, only when it was sent"
    }
    assert "absent" not in report_of({}, version="k6 v9", scenario=scenario, open_loop=False)
