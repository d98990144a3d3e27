"""Several runs beside each other, the first the baseline of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.comparison.changes import ChangeLimit, ChangeVerdict, Doubt, Severity
from pytest_servebench.comparison.regression import changes_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.side_by_side import SideBySide, side_by_side
from pytest_servebench.errors import PlanError
from tests.runs_made_up import MACHINE, STEADY, joined, made_up_run, times

BEFORE, SLOWER = made_up_run("before"), made_up_run("slower", times(STEADY, 1.2))


def verdicts(side: SideBySide) -> dict[tuple[str, str], str]:
    """Return the verdict on each figure, by run and figure."""
    return {(letter, change.figure): str(change.verdict) for letter, change in side.changes}


def test_every_run_is_compared_with_the_first() -> None:
    """A is the baseline of B and of C; C is not compared with B."""
    side = side_by_side([BEFORE, SLOWER, BEFORE], figures=["p95"])
    (row,) = side.rows
    assert row.values == pytest.approx((10.0, 12.0, 10.0))
    assert verdicts(side) == {("B", "p95"): "regression", ("C", "p95"): "pass"}


def test_verdicts_are_those_of_the_gate() -> None:
    """A pair of runs gets exactly what the gate says of them."""
    limits = [ChangeLimit(figure="p95", share=0.1)]
    side = side_by_side([BEFORE, SLOWER], limits=limits, figures=["p95", "p50"])
    gate = changes_of(BEFORE.records, SLOWER.records, limits=limits, figures=["p95", "p50"])
    assert [change for _, change in side.changes] == list(gate)


def test_a_run_that_lost_repeats_is_not_green() -> None:
    """What is left of a run whose server did not always come up proves nothing, as at a session's end."""
    of_six = [{**record, "repeat": number, "repeats": 6} for number, record in enumerate(BEFORE.records, 1)]
    (change,) = (change for _, change in side_by_side([BEFORE, run_of(of_six)], figures=["p95"]).changes)
    assert (change.verdict, change.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.MISSING)
    assert change.reason == "1 of 6 repeats that were asked for gave no record"
    slower = [{**record, "repeat": 2, "repeats": 9} for record in SLOWER.records]
    assert verdicts(side_by_side([BEFORE, run_of(slower)], figures=["p95"])) == {("B", "p95"): "regression"}


def run_of(records: list[dict[str, Any]]) -> SavedRun:
    """Return a run with these records."""
    return SavedRun(name="part", records=tuple(records))


def test_without_limits_the_gates_own_hold_for_what_is_shown() -> None:
    """p95 and throughput are judged by 5%; other figures, and those not asked for, are not."""
    assert verdicts(side_by_side([BEFORE, SLOWER], figures=["p50", "throughput"])) == {
        ("B", "p50"): "not_limited",
        ("B", "throughput"): "regression",
    }


def test_a_limited_figure_is_shown_though_it_was_not_chosen() -> None:
    """What can make the exit code 1 is never hidden."""
    side = side_by_side([BEFORE, SLOWER], limits=[ChangeLimit(figure="p99", share=0.1)], figures=["p50"])
    assert [row.figure for row in side.rows] == ["p50", "p99"]


def test_runs_without_repeats_keep_their_numbers() -> None:
    """Too few repeats give no verdict, and the change all the same."""
    side = side_by_side([made_up_run("a", [10.0]), made_up_run("b", [15.0])], figures=["p95"])
    ((_, change),) = side.changes
    assert (change.verdict, change.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.TOO_FEW)
    assert change.change == pytest.approx(0.5)


def test_cases_of_one_side_are_told_with_their_runs() -> None:
    """A case that not every run has is known to, with the letters of those that have it."""
    more = joined("more", BEFORE, made_up_run("more", test="test_new"))
    side = side_by_side([BEFORE, more, SLOWER])
    new = "test_it.py::test_new[triton-onnx]"
    assert set(side.cases) - set(side.common_cases) == {new}
    assert side.holders(new) == ("B",)


def test_runs_of_one_name_are_told_apart() -> None:
    """Two files called alike, in two folders, are called by their paths."""
    runs = [replace(BEFORE, name="out", paths=(Path(folder) / "out.json",)) for folder in ("old", "new")]
    assert [run.name for run in side_by_side([*runs, SLOWER]).runs] == [
        "old/out.json",
        "new/out.json",
        "slower",
    ]


def test_what_differs_is_told_of_common_cases_only() -> None:
    """Another machine is a difference; a stack that only one run has is none."""
    other = made_up_run("other", machine={**MACHINE, "cpu": "another CPU"})
    more = joined("more", BEFORE, made_up_run("more", stack="fastapi", backend="of its own"))
    side = side_by_side([BEFORE, other, more])
    assert side.differences(1) == ("cpu was made-up CPU, is another CPU",)
    assert side.differences(2) == ()


def test_an_allowed_difference_is_compared() -> None:
    """The user's word makes runs of two machines comparable; without it they are inconclusive."""
    other = made_up_run("other", times(STEADY, 1.2), machine={**MACHINE, "cpu": "another CPU"})
    assert set(verdicts(side_by_side([BEFORE, other], figures=["p95"])).values()) == {"inconclusive"}
    allowed = side_by_side([BEFORE, other], figures=["p95"], allowed=frozenset({"cpu"}))
    assert set(verdicts(allowed).values()) == {"regression"}


def test_remedies_name_this_commands_option() -> None:
    """Nobody is sent to an option that ``servebench compare`` has not."""
    other = made_up_run("other", machine={**MACHINE, "cpu": "another CPU"})
    ((_, change),) = side_by_side([BEFORE, other], figures=["p95"]).changes
    assert "--allow-different=cpu" in change.remedy
    assert "--serve-allow" not in change.remedy


def test_failing_is_by_severity() -> None:
    """A regression always fails; a doubt does by the severity, of figures with a limit only."""
    limits = [ChangeLimit(figure="p95", share=0.1)]
    red = side_by_side([BEFORE, SLOWER], limits=limits)
    assert [letter for letter, _ in red.failing(Severity.WARN)] == ["B"]
    doubtful = side_by_side([BEFORE, made_up_run("b", [10.0])], limits=limits)
    assert [len(doubtful.failing(severity)) for severity in Severity] == [1, 1, 0]


@pytest.mark.parametrize("count", [0, 1, 27])
def test_how_many_runs_can_be_compared(count: int) -> None:
    """One run has nothing to be compared with; more than the alphabet are a history."""
    with pytest.raises(PlanError, match="2 to 26 runs can be compared"):
        side_by_side([BEFORE] * count)


def test_an_unknown_figure_is_refused() -> None:
    """A figure that does not exist is an error, not an empty table."""
    with pytest.raises(PlanError, match="p59"):
        side_by_side([BEFORE, SLOWER], figures=["p59"])
