"""The lines below the tables: each thing once, with how many it concerns and how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.record import make_record
from pytest_servebench.reports.notes import joined_sentence, notes
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.results import RAW_LEFT_OUT, RawBaseline, Telemetry, Validity
from tests.made_up import MACHINE, SETTINGS, made_up_case, made_up_result

CASE = "test_speed triton onnx, batch 8, 1 per request, 16 in flight"


def repeats_of(stack: str, *changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a record for each repeat, its result changed so."""
    found = []
    for repeat, change in enumerate(changes, start=1):
        case = replace(made_up_case(stack), repeat=repeat)
        result = replace(made_up_result(case=case), **change)
        record = make_record(result, plan={**SETTINGS, "repeats": len(changes)}, machine=MACHINE)
        found.append({**record, "benchmark": "test_speed", "test": f"t.py::test_speed[{case.id}]"})
    return found


def used(cores: str) -> dict[str, Any]:
    """Return what a machine's other programs change."""
    sentence = f"other programs used {cores} of the 2 cores that server and client may use"
    return {"telemetry": Telemetry(warnings=(sentence,))}


def test_warnings_of_one_kind_share_a_line_with_their_range() -> None:
    """A busy machine is told once, not once for each of hundreds of measurements."""
    records = [
        *repeats_of("triton", used("0.5"), used("1.9"), used("1.0")),
        *repeats_of("fastapi", used("0.4"), {}, {}),
    ]
    (line,) = notes(joined_rows(records))
    busy = "other programs used 0.4 to 1.9 of the 2 cores that server and client may use"
    assert line == f"warning: 4 of 6 measurements: {busy}"


def test_one_warning_says_whose_it_is() -> None:
    """Of one measurement the name is worth more than a count."""
    assert notes(joined_rows(repeats_of("triton", {}, used("0.5"), {}))) == [
        f"warning: {CASE}, repeat 2: other programs used 0.5 of the 2 cores that server and client may use"
    ]


def test_doubts_of_one_kind_share_a_line_within_their_case() -> None:
    """Which case may not be believed is never lost in a count, and neither is which repeat."""

    def invalid(why: str) -> dict[str, Any]:
        return {"validity": Validity.UNDECIDED, "reason": why}

    few = "{} requests ended within the window of {} s, at least 5 must"
    records = [
        *repeats_of("triton", invalid(few.format(2, 0.7)), {}, invalid(few.format(4, 0.71))),
        *repeats_of("fastapi", invalid("too short")),
    ]
    few = "2 to 4 requests ended within the window of 0.7 to 0.71 s, at least 5 must"
    assert notes(joined_rows(records)) == [
        f"undecided: {CASE}, repeats 1, 3: {few}",
        "undecided: test_speed fastapi onnx, batch 8, 1 per request, 16 in flight, repeat 1: too short",
    ]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (RawBaseline(absent="no engine"), ["no efficiency: 2 of 2 measurements: no engine"]),
        (RAW_LEFT_OUT, []),
        (RawBaseline(images_per_s=100.0), []),
    ],
)
def test_a_model_that_does_not_run_in_process_is_told(raw: RawBaseline, told: list[str]) -> None:
    """A column that somebody waits for does not go without a word; one that was left out does."""
    assert notes(joined_rows(repeats_of("triton", {"raw": raw}, {"raw": raw}))) == told


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:8000/v2", "sm_89", "onnxruntime-1.31.1", "/tmp/run3/log", "r1", "GPU-0"]
)
def test_names_are_no_figures(name: str) -> None:
    """What differs in an address or a version is another thing, not a range of one."""
    assert (
        joined_sentence([f"5% of {name} failed", f"7.5% of {name} failed"]) == f"5 to 7.5% of {name} failed"
    )


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=9))
def test_a_range_is_from_the_least_to_the_most(figures: list[int]) -> None:
    """In whatever order they were seen, compared as numbers."""
    low, high = min(figures), max(figures)
    expected = f"{low}" if low == high else f"{low} to {high}"
    assert joined_sentence([f"used {figure} of 2" for figure in figures]) == f"used {expected} of 2"
