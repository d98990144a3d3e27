"""Cases are compared where they were asked and loaded alike, and only chance may differ."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.conditions import condition_differences, conditions
from pytest_servebench.comparison.fingerprint import fingerprint
from pytest_servebench.record import make_record
from tests.compared import measured
from tests.made_up import MACHINE, SETTINGS, made_up_result


def record(**load: Any) -> dict[str, Any]:
    """Return a record whose load has these fields."""
    return measured({"p95": 1.0}, load={"duration_s": 6.0, **load})


def differences(before: dict[str, Any], now: dict[str, Any], *allowed: str) -> tuple[str, ...]:
    """Return what differs between two records."""
    return condition_differences([before], [now], frozenset(allowed))


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"duration_s": 6.0}, {"duration_s": 2}, "duration_s was 6, is 2"),
        ({"steady": True}, {"steady": False}, "steady was true, is false"),
        ({"workers": []}, {"workers": ["popen", "popen"]}, "workers was none, is popen, popen"),
        ({"precision": 0.05}, {}, "precision was 0.05, is none"),
        ({"arrivals": "closed"}, {"arrivals": "poisson:50"}, "arrivals was closed, is poisson:50"),
    ],
)
def test_each_difference_is_told(before: dict[str, Any], now: dict[str, Any], said: str) -> None:
    """Numbers as a person writes them; what is not there is none."""
    assert differences(record(**before), record(**now)) == (said,)
    assert differences(record(**before), record(**now), said.partition(" ")[0]) == ()


def test_a_number_is_itself_whether_json_wrote_a_fraction_or_not() -> None:
    """6 and 6.0 are the same length of time."""
    assert differences(record(duration_s=6.0), record(duration_s=6)) == ()


def test_the_seed_and_the_repeat_may_differ() -> None:
    """They tell replicates apart, not cases."""
    before, now = measured({}, repeat=1), measured({}, repeat=2)
    now["load"]["seed"] = 7
    assert differences(before, now) == ()


def test_a_field_of_case_and_load_is_told_apart() -> None:
    """Arithmetic and the wished-for width of an interval are both called precision."""
    before, now = record(precision=0.1), record(precision=0.05)
    for each in (before, now):
        each["case"]["precision"] = "fp32"
    assert differences(before, now) == ("load.precision was 0.1, is 0.05",)


def test_replicates_of_one_side_must_be_alike_too() -> None:
    """A side of short and long runs is no side."""
    mixed = [record(duration_s=2), record(duration_s=6)]
    assert condition_differences(mixed, mixed, frozenset()) == ("duration_s was 2 or 6, is 2 or 6",)


def test_a_rate_that_was_looked_for_is_no_condition() -> None:
    """It is the result of a search for capacity, as the length of its last run is."""
    before, now = record(arrivals="poisson:50"), record(arrivals="poisson:60", duration_s=9)
    for each in (before, now):
        each["case"]["objective"] = "p95<=50ms"
    assert differences(before, now) == ()


def test_a_quick_run_is_another_condition() -> None:
    """Its windows are too short to be compared with others."""
    quick = measured({}, quick=True)
    assert differences(measured({}), quick) == ("quick was false, is true",)


def test_a_real_record_tells_all_of_its_case_and_load() -> None:
    """Whatever fields cases and loads will have is compared, but for those that are known not to matter."""
    real = make_record(made_up_result([1.0] * 100), plan=SETTINGS, machine=MACHINE)
    told = set(conditions(real))
    of_case, of_load = set(real["case"]), set(real["load"])
    shared = of_case & of_load
    assert told == (
        (of_case - {"id", "repeat", "device", "decoder"})
        | (of_load - shared - {"seed"})
        | {f"load.{name}" for name in shared}
        | {"quick"}
    )
    assert "device" in fingerprint(real)
