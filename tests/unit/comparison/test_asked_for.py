"""What a run was asked for, of all that a baseline holds."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.asked_for import asked_in, asked_of, only, with_lost
from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt
from pytest_servebench.comparison.replicates import case_name
from tests.saved_records import repeats, saved_record

CASE = "bench/test_it.py::test_speed[fastapi-onnx-tensor-http-b8-i1-c16]"


def test_repeats_are_tests_of_one_case() -> None:
    """A case is asked for as often as tests of it were collected, wherever its repeat stands in their ids."""
    ids = [CASE.replace("]", f"-r{number}]") for number in (1, 2, 3)]
    assert asked_of(ids, [CASE, "other"]) == {CASE: 3}
    around = "t.py::t[small-fastapi-c16-b{}-large]"
    assert asked_of([around.format("-r1"), around.format("-r2")], [around.format("")]) == {
        around.format(""): 2
    }
    assert asked_of([CASE], [CASE]) == {CASE: 1}
    assert asked_of([f"{CASE}-r1", "t.py::t[a-r1b]"], [CASE, "t.py::t[ab]"]) == {}


def test_a_second_measurement_is_asked_for_with_its_test() -> None:
    """A test that measures two cases has one id and two names."""
    assert asked_of([CASE], [CASE, f"{CASE}#2"]) == {CASE: 1, f"{CASE}#2": 1}


def test_names_of_records_and_of_collected_tests_agree() -> None:
    """Whatever a record of a test is called, its collected id leads there."""
    for repeat in (None, 1, 12):
        record = saved_record(repeat=repeat, measurement=2)
        assert asked_of([record["test"]], [case_name(record)]) == {case_name(record): 1}


def test_only_the_records_of_some_cases_are_kept() -> None:
    """In the order in which the cases are named, each once."""
    records = [*repeats(2), *repeats(2, stack="triton"), *repeats(2, stack="torchserve")]
    names = list(dict.fromkeys(map(case_name, records)))
    kept = only(records, [names[2], names[0], names[2], "unknown"])
    assert [record["case"]["stack"] for record in kept] == ["torchserve"] * 2 + ["fastapi"] * 2


def replicate(repeat: object, repeats_asked: object) -> dict[str, Any]:
    """Return a record that says which of how many repeats it is."""
    return {**saved_record(), "test": CASE, "repeat": repeat, "repeats": repeats_asked}


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ([(1, 5), (2, 5), (4, 5)], 5),
        ([(1, 2), (2, 2), (1, 2), (2, 2)], 4),
        ([(1, 3), (1, 3), (3, 3)], 4),
        ([(None, 1)] * 3, 3),
        ([(None, None), ("x", 5)], 2),
        ([(1, 10**17)], 10**17),
    ],
)
def test_a_saved_run_tells_how_often_it_was_asked(told: list[tuple[object, object]], wanted: int) -> None:
    """A number that no file has was lost; several runs that are read as one have each number often."""
    assert asked_in([replicate(*each) for each in told]) == {CASE: wanted}


def change(verdict: ChangeVerdict, doubt: Doubt | None = None) -> Change:
    """Return a change of the case."""
    return Change(case=CASE, figure="p95", unit="ms", verdict=verdict, doubt=doubt, limit=0.05)


@pytest.mark.parametrize(
    ("verdict", "doubt", "turns"),
    [
        (ChangeVerdict.PASS, None, True),
        (ChangeVerdict.IMPROVEMENT, None, True),
        (ChangeVerdict.INCONCLUSIVE, Doubt.NOISE, True),
        (ChangeVerdict.INCONCLUSIVE, Doubt.TOO_FEW, True),
        (ChangeVerdict.INCONCLUSIVE, Doubt.DIFFERENT, False),
        (ChangeVerdict.REGRESSION, None, False),
    ],
)
def test_a_part_of_the_repeats_proves_nothing_green(
    verdict: ChangeVerdict, doubt: Doubt | None, turns: bool
) -> None:
    """Two of five repeats are not five; a regression that they prove stands."""
    (after,) = with_lost([change(verdict, doubt)], {CASE: 5}, repeats(3))
    if turns:
        assert (after.verdict, after.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.MISSING)
        assert after.reason == "2 of 5 repeats that were asked for gave no record"
    else:
        assert after == change(verdict, doubt)
    assert with_lost([change(verdict, doubt)], {CASE: 3}, repeats(3)) == (change(verdict, doubt),)
