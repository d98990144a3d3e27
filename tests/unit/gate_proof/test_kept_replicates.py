"""What was measured is kept, a line at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gate.replicates import Replicates
from benchmarks.gate.schedule import turns
from pytest_servebench.errors import PlanError
from tests.replicated import replicate

FIRST, SECOND = turns(1, 1)[:2]


def test_what_is_added_is_read_again(tmp_path: Path) -> None:
    """Record, times and turn come back as they were, in a folder that is made when it is needed."""
    store = Replicates(tmp_path / "new" / "folder")
    assert store.read() == {}
    store.add(replicate(FIRST, 0.1))
    found = store.read()[FIRST]
    assert found.turn == FIRST
    assert found.record == replicate(FIRST, 0.1).record
    assert found.times_s == pytest.approx(replicate(FIRST, 0.1).times_s, abs=1e-7)


def test_a_line_that_was_cut_off_is_no_replicate(tmp_path: Path) -> None:
    """Killed in the middle of a line: what stands before it counts, and the turn is taken again."""
    store = Replicates(tmp_path)
    store.add(replicate(FIRST))
    whole = store.path.read_text(encoding="utf-8")
    store.add(replicate(SECOND))
    cut = store.path.read_text(encoding="utf-8")[:-20]
    store.path.write_text(cut, encoding="utf-8")
    assert set(store.read()) == {FIRST}
    store.add(replicate(SECOND))
    assert set(store.read()) == {FIRST, SECOND}
    assert store.path.read_text(encoding="utf-8").startswith(whole)


def test_the_last_measurement_of_a_turn_counts(tmp_path: Path) -> None:
    """A group that was broken off is measured anew, and its first replicates are out of date."""
    store = Replicates(tmp_path)
    for slower in (0.5, 0.0):
        store.add(replicate(FIRST, slower))
    assert store.read()[FIRST].record == replicate(FIRST).record


def test_nothing_to_judge_says_how_to_measure(tmp_path: Path) -> None:
    """A folder without replicates is an error that names the command."""
    with pytest.raises(PlanError, match="nothing to judge") as caught:
        Replicates(tmp_path).read_some()
    assert "python -m benchmarks.gate" in caught.value.next_step
