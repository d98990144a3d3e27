"""Serving efficiency: of which runs it is told, and why not of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.comparison.figures import FIGURES
from pytest_servebench.efficiency import Efficiency, efficiency_of
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.record import make_record
from pytest_servebench.results import CaseResult, RawBaseline, Validity
from tests.made_up import MACHINE, SETTINGS, made_up_case, made_up_result

RAW = RawBaseline(images_per_s=4.0, batch_size=8, batches=5, engine="made up")
CASE = made_up_case()
OPEN = replace(CASE, load=replace(CASE.load, arrivals=Poisson(10.0)))


def result(**changes: Any) -> CaseResult:
    """Return a result of 2 images/s, where the model in process does 4."""
    return made_up_result(**{"raw": RAW, **changes})


def test_a_closed_loop_has_its_share() -> None:
    """Half of the images a second that the model does alone."""
    assert efficiency_of(result()) == Efficiency(0.5)


def test_more_than_the_model_alone_is_said() -> None:
    """A share above 1 is not cut off: it may well be true."""
    assert efficiency_of(result(raw=replace(RAW, images_per_s=1.6))).share == pytest.approx(1.25)


def test_a_capacity_has_its_share() -> None:
    """The rate of a search was not chosen: it is what the server can hold."""
    assert efficiency_of(result(case=replace(OPEN, objective=DEFAULT_OBJECTIVE))) == Efficiency(0.5)


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"case": OPEN}, "the rate of requests was chosen: the server was not asked for all it can do"),
        ({"validity": Validity.UNSTABLE}, "the run is unstable"),
        ({"validity": Validity.ERRORS, "summary": None}, "the run is errors"),
        ({"raw": RawBaseline(absent="no engine here")}, "no engine here"),
        ({"raw": RawBaseline(images_per_s=0.0)}, "the model in process computed nothing"),
    ],
    ids=["a chosen rate", "not valid", "no window", "no baseline", "nothing computed"],
)
def test_what_has_none_says_why(changes: dict[str, Any], absent: str) -> None:
    """None with the reason, never 0 and never infinite."""
    assert efficiency_of(result(**changes)) == Efficiency(None, absent)


def test_the_record_has_both() -> None:
    """What was served, what the model does alone, and the share; or the reason why there is none."""
    record = make_record(result(), plan=SETTINGS, machine=MACHINE)
    assert (record["serving_efficiency"], record["serving_efficiency_absent"]) == (0.5, "")
    assert record["raw"] == {
        "images_per_s": 4.0,
        "batch_size": 8,
        "batches": 5,
        "computed_s": None,
        "engine": "made up",
        "versions": {},
        "absent": "",
    }
    unmeasured = make_record(made_up_result(), plan=SETTINGS, machine=MACHINE)
    assert unmeasured["serving_efficiency"] is None
    assert unmeasured["serving_efficiency_absent"] == unmeasured["raw"]["absent"] == "nobody measured it"


def test_runs_are_compared_by_it() -> None:
    """The figure that comparisons know is where the record has it."""
    record = make_record(result(), plan=SETTINGS, machine=MACHINE)
    assert FIGURES["efficiency"].of(record) == 0.5
