"""Intervals over replicates: the references agree, and nothing is told where nothing is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pytest_servebench.comparison.intervals import across_runs, overlap
from pytest_servebench.comparison.replicates import case_name, replicates_of

FIGURES = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=12)
LOOSE = 1e-9


def record(p95_ms: float | None, repeat: int = 1, **changes: Any) -> dict[str, Any]:
    """Return as much of a record as is looked at."""
    case_id = f"echo-onnx-c2-r{repeat}"
    return {
        "case": {"id": case_id, "repeat": repeat},
        "test": f"t.py::test_speed[{case_id}]",
        "validity": "valid",
        "restarted": True,
        "response_time_ms": {"p50": 1.0, "p95": p95_ms},
        "images_per_s": 50.0 + repeat,
        **changes,
    }


@given(FIGURES, st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_is_scipys_of_the_logarithms(values: list[float], confidence: float) -> None:
    """Student's t of the logarithms, turned back; and the median is numpy's."""
    found = across_runs(values, confidence)
    assert found is not None
    assert found.median == pytest.approx(float(np.median(values)))
    logs = np.log(values)
    spread = stats.sem(logs)
    low, high = (
        stats.t.interval(confidence, len(logs) - 1, logs.mean(), spread) if spread else [logs.mean()] * 2
    )
    assert found.interval == pytest.approx((np.exp(low), np.exp(high)), rel=1e-6)


@given(FIGURES)
def test_slower_and_faster_are_the_same_thing_turned_over(values: list[float]) -> None:
    """Seconds per request and requests per second tell the same interval: that is what logarithms are for."""
    one, other = across_runs(values), across_runs([1 / value for value in values])
    assert one is not None
    assert other is not None
    assert one.interval is not None
    assert other.interval == pytest.approx(tuple(1 / end for end in reversed(one.interval)), rel=1e-6)


@given(FIGURES)
def test_the_interval_has_the_typical_run_in_it(values: list[float]) -> None:
    """It holds the geometric mean, never reaches 0, and its width is the longer arm."""
    found = across_runs(values)
    assert found is not None
    assert found.interval is not None
    low, high = found.interval
    assert 0 < low <= stats.gmean(values) * (1 + LOOSE)
    assert high >= stats.gmean(values) * (1 - LOOSE)
    assert found.width == max(found.median - low, high - found.median) / found.median


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [-1.0, 2.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_too_few_replicates_and_impossible_ones_have_no_interval(values: list[float]) -> None:
    """One run tells nothing of another, and 0 has no logarithm: no interval, and no narrow one either."""
    found = across_runs(values)
    assert found is not None
    assert found.interval is None
    assert found.width is None
    assert across_runs([]) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((1, 2), (3, 4), False), ((1, 3), (2, 4), True), ((1, 4), (2, 3), True), ((1, 2), (2, 3), True)],
)
def test_intervals_overlap_or_they_do_not(
    one: tuple[int, int], other: tuple[int, int], expected: bool
) -> None:
    """Touching is overlapping, and it is the same from either side."""
    assert overlap(one, other) == overlap(other, one) == expected


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("t.py::test_it[echo-onnx-c2-r3]", "t.py::test_it[echo-onnx-c2]"),
        ("t.py::test_it[red-echo-onnx-c2-r3-r3]", "t.py::test_it[red-echo-onnx-c2-r3]"),
        ("t.py::test_it[echo-onnx-c7-r3]", "t.py::test_it[echo-onnx-c7]"),
        ("t.py::test_it[echo-onnx-c7-r3-blue]", "t.py::test_it[echo-onnx-c7-blue]"),
        ("t.py::test_it[echo-onnx-c7-r31]", "t.py::test_it[echo-onnx-c7-r31]"),
    ],
)
def test_replicates_share_a_name(test: str, expected: str) -> None:
    """Their test's without the repeat, also where the test measured another load than its case has."""
    one = record(1.0, 3, test=test)
    assert case_name(one) == expected
    assert case_name({**one, "measurement": 2}) == f"{expected}#2"


def test_replicates_stand_together_in_order_of_appearance() -> None:
    """Whatever order workers finished in."""
    records = [record(1.0, repeat) for repeat in (2, 1, 3)]
    assert replicates_of(records) == {"t.py::test_speed[echo-onnx-c2]": tuple(records)}
