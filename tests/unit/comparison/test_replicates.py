"""What is a replicate: a further measurement by a new server, and never a rerun of a failed test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.comparison.promoting import baseline_of
from pytest_servebench.comparison.replicates import replicates_of, without_reruns
from pytest_servebench.comparison.saved_runs import read_run
from tests.saved_records import repeats, save, saved_record


def counted(records: Any) -> list[int]:
    """Return how many replicates each case has."""
    return [len(each) for each in replicates_of(records).values()]


@pytest.mark.parametrize("repeat", [None, 2])
def test_the_last_word_of_a_test_that_was_run_again_counts(repeat: int | None) -> None:
    """It stands where the first stood, so that repeats keep their order."""
    first, again = (saved_record(repeat=repeat, validity=word) for word in ("unstable", "valid"))
    other = saved_record(stack="triton", repeat=repeat)
    assert without_reruns([first, other, again]) == (again, other)


def test_what_is_told_apart_is_no_rerun() -> None:
    """Other repeats, a test's second measurement, another test, and another worker with --dist=each."""
    records = [
        *repeats(3),
        saved_record(repeat=1, measurement=2),
        saved_record(repeat=1, test="test_it.py::test_other[fastapi-r1]"),
        saved_record(repeat=1, worker="gw1"),
    ]
    assert without_reruns(records) == tuple(records)


def test_a_saved_run_has_no_reruns_and_several_files_are_replicates(tmp_path: Path) -> None:
    """Five files of one measurement each are five replicates, though in one of them a test was run again."""
    for number in range(5):
        records = [saved_record(slower=1.0 + number / 100)]
        save(tmp_path / f"{number}.json", [*records, *records] if number == 3 else records)
    run = read_run(tmp_path)
    assert counted(run.records) == [5]
    assert counted(read_run(tmp_path / "3.json").records) == [1]
    baseline = baseline_of([run], name="main", promoted="2026-11-20T09:00:00+00:00")
    assert counted(baseline.records) == [5]
