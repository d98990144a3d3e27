"""What is a replicate: a further measurement by a new server, of whichever file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_servebench.comparison.promoting import baseline_of
from pytest_servebench.comparison.replicates import replicates_of
from pytest_servebench.comparison.saved_runs import read_run
from tests.saved_records import save, saved_record


def counted(records: Any) -> list[int]:
    """Return how many replicates each case has."""
    return [len(each) for each in replicates_of(records).values()]


def test_several_files_are_replicates(tmp_path: Path) -> None:
    """Five files of one measurement each are five replicates."""
    for number in range(5):
        records = [saved_record(slower=1.0 + number / 100)]
        save(tmp_path / f"{number}.json", records)
    run = read_run(tmp_path)
    assert counted(run.records) == [5]
    assert counted(read_run(tmp_path / "3.json").records) == [1]
    baseline = baseline_of([run], name="main", promoted="2026-11-20T09:00:00+00:00")
    assert counted(baseline.records) == [5]
