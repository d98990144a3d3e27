"""Series of many runs: what is joined, what is not, and where it changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.comparison.changes import ChangeLimit, Severity
from pytest_servebench.comparison.chronicle import Measured
from pytest_servebench.comparison.history import Series, failures, series_of
from tests.runs_made_up import LOAD, MACHINE, made_up_record

LIMITS = [ChangeLimit(figure="p95", share=0.05)]
WOBBLE = (1.0, 1.01, 0.99, 1.005)
UP = [10.0] * 10 + [11.0] * 5


def measured(number: int, *records: dict[str, Any]) -> Measured:
    """Return the run of a day."""
    started = datetime(2026, 11, 1, tzinfo=timezone.utc) + timedelta(days=number)
    return Measured(name=f"run{number}", path=Path(f"{number}.json"), started=started, records=records)


def runs_of(levels: Sequence[float], **changes: Any) -> list[Measured]:
    """Return a run a day with these p95, a little noise on them."""
    values = [level * WOBBLE[number % len(WOBBLE)] for number, level in enumerate(levels)]
    return [measured(number, made_up_record(value, **changes)) for number, value in enumerate(values)]


def only(found: Sequence[Series]) -> Series:
    """Return the one series that there is."""
    (one,) = found
    return one


def test_a_change_is_told_with_its_run_and_direction() -> None:
    """A p95 that rises is worse, from the run on with which it began; a throughput that falls, too."""
    p95, throughput = series_of(runs_of(UP), figures=["p95", "throughput"])
    (turn,) = p95.turns
    assert p95.points[turn.at].run.name == "run10"
    assert (turn.before, turn.after) == pytest.approx((10.025, 11.0))
    assert turn.is_worse
    assert turn.change == pytest.approx(0.1, abs=0.02)
    assert [(each.at, each.is_worse) for each in throughput.turns] == [(10, True)]
    assert [(begin, end) for begin, end, _ in p95.levels] == [(0, 10), (10, 15)]


def test_a_p95_that_falls_is_better() -> None:
    """The direction is the figure's own."""
    (turn,) = only(series_of(runs_of(UP[::-1]), figures=["p95"])).turns
    assert not turn.is_worse


def test_replicates_of_a_run_are_one_point() -> None:
    """A run's point is the median of its replicates, and says of how many."""
    records = [made_up_record(value) for value in (10.0, 11.0, 30.0)]
    (point,) = only(series_of([measured(0, *records)], figures=["p95"])).points
    assert (point.value, point.replicates) == (11.0, 3)


def test_machines_are_not_joined() -> None:
    """Runs that take turns on two machines make two series, neither of which ever changed."""
    other = {**MACHINE, "cpu": "a slower CPU"}
    runs = [
        measured(
            number, made_up_record(20.0 if number % 2 else 10.0, machine=other if number % 2 else MACHINE)
        )
        for number in range(24)
    ]
    first, second = series_of(runs, figures=["p95"])
    assert (len(first.points), first.turns, first.is_current) == (12, (), False)
    assert (len(second.points), second.turns, second.is_current) == (12, (), True)
    assert second.differs == "cpu was made-up CPU, is a slower CPU"


def test_a_difference_that_is_allowed_is_joined() -> None:
    """With the user's word a new version is one series with the old one, and its change is seen."""
    newer = {**MACHINE, "packages": {"numpy": "2.1"}}
    runs = [
        measured(at, made_up_record(level * WOBBLE[at % 4], machine=MACHINE if at < 10 else newer))
        for at, level in enumerate(UP)
    ]
    assert len(series_of(runs, figures=["p95"])) == 2
    joined = only(series_of(runs, figures=["p95"], allowed=frozenset({"versions"})))
    assert [turn.at for turn in joined.turns] == [10]


def test_another_load_is_another_series() -> None:
    """Twice the requests in flight is no slower server."""
    runs = [*runs_of([10.0] * 8), *runs_of([20.0] * 8, load={**LOAD, "concurrency": 32})]
    assert [each.differs for each in series_of(runs, figures=["p95"])] == ["", "concurrency was 16, is 32"]


def test_a_run_of_two_kinds_is_joined_to_neither() -> None:
    """Its replicates were not measured alike: whichever came first does not speak for the others."""
    other = {**MACHINE, "cpu": "a slower CPU"}
    mixed = [made_up_record(10.0), made_up_record(20.0, machine=other)]
    for records in (mixed, mixed[::-1]):
        first, second = series_of([*runs_of([10.0] * 8), measured(9, *records)], figures=["p95"])
        assert (len(first.points), first.is_current, len(second.points)) == (8, False, 1)
        assert "a slower CPU" in second.differs


def test_response_times_of_a_capacity_search_are_not_judged() -> None:
    """A server that holds a higher rate is asked at it: no p95 there is worse, and none proves anything."""
    case = {"id": "triton-onnx", "stack": "triton", "repeat": None, "objective": "p95<=50ms"}
    runs = runs_of(UP, case=case)
    limits = [*LIMITS, ChangeLimit(figure="throughput", share=0.05)]
    searched = series_of(runs, figures=["p95", "throughput"])
    (line,) = failures(searched, limits, Severity.AUTO, runs=runs)
    assert ": throughput " in line
    (line,) = failures(searched, LIMITS, Severity.AUTO, runs=runs)
    assert line.startswith("fails: p95 could be judged of 0 of 0 cases: it takes 8 runs on one machine ")


@pytest.mark.parametrize(("severity", "fails"), [("auto", False), ("fail", True), ("warn", False)])
def test_a_case_without_a_single_figure_is_counted(severity: str, fails: bool) -> None:
    """One that never was valid, or is not on its new machine, has no series, and is no less unjudged."""
    runs = runs_of([10.0] * 9)
    other = {**MACHINE, "cpu": "a slower CPU"}
    for validity in ("unstable", "errors"):
        broken = [made_up_record(10.0, test="test_new", machine=other, validity=validity)]
        if validity == "errors":
            broken += [made_up_record(10.0, test="test_new")]
        spoiled = [*runs, measured(20, made_up_record(10.0), *broken)]
        found = failures(series_of(spoiled, figures=["p95"]), LIMITS, Severity(severity), runs=spoiled)
        assert bool(found) is fails
        assert all("p95 could be judged of 1 of 2 cases" in line for line in found)


def test_what_is_not_valid_is_not_used() -> None:
    """A run that is not to be believed, or has no such figure, is counted and no point."""
    bad = measured(20, made_up_record(99.0, validity="unstable"))
    missing = measured(21, made_up_record(None))
    series = only(series_of([*runs_of([10.0] * 8), bad, missing], figures=["p95"]))
    assert (len(series.points), series.unusable) == (8, 2)


def test_a_change_below_the_floor_is_none() -> None:
    """A p95 of 0.2 ms that rises by a quarter has changed by less than counts."""
    tiny = [0.2] * 10 + [0.25] * 10
    assert only(series_of(runs_of(tiny), figures=["p95"])).turns == ()


@pytest.mark.parametrize(("severity", "fails"), [("auto", True), ("fail", True), ("warn", False)])
def test_a_latest_run_without_a_figure_is_not_green(severity: str, fails: bool) -> None:
    """A server that answers wrongly since yesterday was fast the day before; its next run ends that."""
    runs = [*runs_of([10.0] * 9), measured(20, made_up_record(10.0, validity="wrong_output"))]
    found = failures(series_of(runs, figures=["p95"]), LIMITS, Severity(severity), runs=runs)
    assert bool(found) is fails
    assert all("p95 could be judged of 0 of 1 cases" in line for line in found)
    mended = [*runs, measured(21, made_up_record(10.0))]
    assert failures(series_of(mended, figures=["p95"]), LIMITS, Severity(severity), runs=mended) == ()


def test_a_floor_of_the_users_own_is_the_floor() -> None:
    """Whoever cares for hundredths of a millisecond is told of them; by how much less he asks, nothing is."""
    runs = runs_of([0.2] * 10 + [0.25] * 10)
    for floor, fails in ((0.01, True), (0.06, False), (None, False)):
        limits = [ChangeLimit(figure="p95", share=0.05, floor=floor)]
        series = series_of(runs, figures=["p95"], limits=limits)
        assert bool(failures(series, limits, Severity.AUTO, runs=runs)) is fails, floor


def test_a_worse_level_fails() -> None:
    """The latest level is worse than the one before by more than the limit: one line says so."""
    series = series_of(runs_of(UP), figures=["p95"])
    (line,) = failures(series, LIMITS, Severity.AUTO, runs=runs_of(UP))
    assert line.startswith("fails: test_it.py::test_speed[triton-onnx]: p95 +")
    assert line.endswith("limit +5%, since run10")
    assert failures(series, [ChangeLimit(figure="p95", share=0.2)], Severity.AUTO, runs=runs_of(UP)) == ()


def test_what_was_mended_is_green_again() -> None:
    """Only the latest level counts, against the one before."""
    mended = [10.0] * 10 + [12.0] * 5 + [10.0] * 5
    runs = runs_of(mended)
    assert failures(series_of(runs, figures=["p95"]), LIMITS, Severity.AUTO, runs=runs) == ()


@pytest.mark.parametrize(("severity", "fails"), [("auto", False), ("fail", True), ("warn", False)])
def test_some_cases_with_too_few_runs(severity: str, fails: bool) -> None:
    """Where other cases were judged, a new one fails only for those who ask for it."""
    runs = [
        measured(at, made_up_record(10.0), *([made_up_record(5.0, test="test_new")] if at > 5 else []))
        for at in range(10)
    ]
    found = failures(series_of(runs, figures=["p95"]), LIMITS, Severity(severity), runs=runs)
    assert bool(found) is fails
    assert all("p95 could be judged of 1 of 2 cases" in line for line in found)


@pytest.mark.parametrize(("severity", "fails"), [("auto", True), ("fail", True), ("warn", False)])
def test_nothing_that_could_be_judged_is_not_green(severity: str, fails: bool) -> None:
    """A limit on a figure that no case has enough runs of, or none at all, fails but with ``warn``."""
    few = runs_of([10.0] * 5)
    assert bool(failures(series_of(few), LIMITS, Severity(severity), runs=few)) is fails
    enough = series_of(runs_of([10.0] * 9))
    energy = [ChangeLimit(figure="energy", share=0.05)]
    assert bool(failures(enough, energy, Severity(severity), runs=runs_of([10.0] * 9))) is fails
