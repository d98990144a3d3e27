"""Figures as properties of a test."""

from __future__ import annotations

import pytest

from pytest_servebench.properties import Property, others_in, properties_of
from tests.made_up import wrong_result
from tests.saved_records import saved_record


def test_a_record_has_its_figures() -> None:
    """Names with units, values as the record has them."""
    record = saved_record(repeat=2, verdict={"judgement": "pass"})
    found = dict(properties_of({**record, "repeat": 2}))
    times = record["response_time_ms"]
    assert found["servebench_p50_ms"] == times["p50"]
    assert found["servebench_p95_ms"] == times["p95"]
    assert found["servebench_p99_ms"] == times["p99"]
    assert found["servebench_images_per_s"] == record["images_per_s"]
    assert found["servebench_validity"] == "valid"
    assert found["servebench_limits_verdict"] == "pass"
    assert found["servebench_repeat"] == 2
    assert found["servebench_memory_gb"] == pytest.approx(1.2)


def test_what_is_missing_is_left_out() -> None:
    """None is not written as 0, and a zero that was measured is."""
    result = {"validity": wrong_result().validity, "reason": "7 of 8 differ"}
    found = dict(properties_of(saved_record(result=result, telemetry={"joules_per_image": 0.0})))
    assert found["servebench_joules_per_image"] == 0.0
    assert found["servebench_validity"] == "wrong_output"
    assert found["servebench_reason"] == "7 of 8 differ"
    assert not {"servebench_p95_ms", "servebench_images_per_s", "servebench_gpu_utilization_percent"} & set(
        found
    )
    assert None not in found.values()


def test_a_tests_second_measurement_has_names_of_its_own() -> None:
    """And whoever runs a test again begins anew, with others' properties kept."""
    before: list[Property] = [("mine", 1)]
    before += properties_of(saved_record(), after=before)
    after = properties_of(saved_record(), after=before)
    assert all(name.endswith("_2") for name, _ in after)
    assert len({name for name, _ in [*before, *after]}) == len(before) + len(after)
    assert others_in([*before, *after]) == [("mine", 1)]
