"""The staged load test is asked for by stages, by a scale of the reference's rates, or by both."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from pytest_servebench.arrivals import REFERENCE, Poisson, Stage, Staged, text_of
from pytest_servebench.errors import PlanError
from pytest_servebench.objective import DEFAULT_OBJECTIVE, parse_objective
from pytest_servebench.options.arrivals import parse_arrivals, parse_scale
from pytest_servebench.options.cases import cases_for
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plan import Case, Load, Plan
from tests.asking import given
from tests.offered_stack import THREE


def cases(marker: str = "staged", **fields: Any) -> tuple[Case, ...]:
    """Return a benchmark's cases under a plan with these fields."""
    given_fields = {"stacks": ("triton",), "batch_sizes": (8,), "duration_s": 4.0, "warmup_s": 1.0, **fields}
    asked = marker_arguments({"arrivals": marker} if marker else {}, where="t.py::t")
    return cases_for(Plan(**given_fields), stacks_offer=THREE, **asked)


def asked_for(text: str) -> dict[str, Any]:
    """Return the plan's fields for arrivals that the user gave."""
    return {"arrivals": parse_arrivals(given(text)), "settings": {"arrivals": text}}


def load_of(**fields: Any) -> Load:
    """Return the load of the first case."""
    return cases(**fields)[0].load


@pytest.mark.parametrize("fields", [{}, asked_for("poisson:50"), asked_for("closed")], ids=str)
def test_without_stages_or_a_scale_there_is_no_case(fields: dict[str, Any]) -> None:
    """Sixteen minutes are nobody's default."""
    assert cases(**fields) == ()


def test_a_scale_alone_means_the_stages_of_the_reference() -> None:
    """Its times stay, its rates do not, and the name says so."""
    load = load_of(load_scale=0.05)
    assert isinstance(load.arrivals, Staged)
    assert [stage.per_s for stage in load.arrivals.stages] == pytest.approx([5, 5, 25, 25, 0])
    assert load.arrivals.length_s == 960
    assert load.warmup_s + load.duration_s == 960
    assert cases(load_scale=0.05)[0].id.endswith("-b8-i1-reference-x-0.05")


def test_stages_of_the_users_own_are_run_as_they_are_or_scaled() -> None:
    """With the same factor for every rate, the first one's too."""
    own = asked_for("stages:10:2m:100,1m:100")
    assert load_of(**own).arrivals == Staged(stages=(Stage(120, 100), Stage(60, 100)), start_per_s=10)
    assert load_of(**own, load_scale=0.5).arrivals == Staged(
        stages=(Stage(120, 50), Stage(60, 50)), start_per_s=5
    )
    assert load_of(**asked_for("reference")).arrivals == REFERENCE


@pytest.mark.parametrize("marker", ["staged", "stages:1m:2000,1m:5000", ""])
def test_a_scale_makes_no_rate_that_could_not_be_asked_for(marker: str) -> None:
    """The bound of --serve-arrivals holds for the product too, whoever wrote the stages."""
    own = asked_for("stages:1m:2000,1m:5000")
    assert cases(marker, **own, load_scale=200.0)
    with pytest.raises(PlanError) as caught:
        cases(marker, **own, load_scale=1000.0)
    assert caught.value.what == "--serve-load-scale makes a rate of 5000000/s, above 1000000/s"
    assert caught.value.where == "--serve-load-scale=1000"
    assert caught.value.next_step == "give a scale of at most 200"
    assert cases(load_scale=1000.0), "the reference's 500/s become 500,000/s"


def test_other_arrivals_leave_the_scale_to_the_reference() -> None:
    """A scale asks for the load test, whatever else runs."""
    fields = {**asked_for("poisson:50"), "load_scale": 0.1}
    assert str(load_of(**fields).arrivals) == "reference x 0.1"
    (open_loop, *_) = cases("open", **fields)
    assert open_loop.load.arrivals == Poisson(50)


def test_auto_is_in_the_name_until_a_capacity_is_known() -> None:
    """The rates in it tell the shape only."""
    case = cases(load_scale="auto")[0]
    assert case.id.endswith("-b8-i1-reference-x-auto")
    assert text_of(case.load.arrivals) == "reference x auto"
    short = cases(load_scale="auto", quick=True)[0]
    assert short.id.endswith("-i1-reference-in-5s-x-auto")
    own = cases(**asked_for("stages:" + "1m:7,1m:9," * 5 + "1m:0"), load_scale="auto")[0]
    assert own.id.rpartition("-i1-")[2].startswith("stages-")
    assert own.id.endswith("-x-auto")


def test_it_is_judged_by_the_plans_objective() -> None:
    """The reference's, unless the user has another; other benchmarks with stages are not judged so."""
    assert load_of(load_scale=1.0).objective == DEFAULT_OBJECTIVE
    own = parse_objective("p99<=1s")
    load = load_of(load_scale=1.0, objective=own, abort_after_s=30.0)
    assert (load.objective, load.abort_after_s) == (own, 30.0)
    other = cases("open", **asked_for("reference"), abort_after_s=30.0)[0].load
    assert (other.objective, other.abort_after_s) == (None, None)


@drawn(st.floats(0.5, 20_000))
def test_at_capacity_the_highest_rate_is_its_share(capacity_per_s: float) -> None:
    """To the digits of the factor, which the text has all of."""
    fitted, factor = REFERENCE.scaled("auto").at_capacity(capacity_per_s)
    assert fitted.peak_per_s == pytest.approx(0.7 * capacity_per_s, rel=1e-3)
    assert fitted.peak_share is None
    assert fitted.length_s == REFERENCE.length_s
    assert fitted == REFERENCE.scaled(factor)
    assert factor == 1 or str(fitted) == f"reference x {factor:g}"


def test_a_scale_of_one_is_the_reference_itself() -> None:
    """No other name for the same load."""
    assert REFERENCE.scaled(1.0) == REFERENCE


@pytest.mark.parametrize(("text", "scale"), [("0.05", 0.05), (" 2 ", 2.0), ("auto", "auto"), (".5", 0.5)])
def test_a_scale_is_a_factor_or_auto(text: str, scale: float | str) -> None:
    """As the option, the ini key and TOML give it."""
    assert parse_scale(given(text)) == scale


@pytest.mark.parametrize("text", ["0", "-1", "5%", "Auto", "", "1e3", "0.00001", "5000", "nan"])
def test_another_scale_is_told_with_what_is_allowed(text: str) -> None:
    """A scale of nothing would pass everything."""
    with pytest.raises(PlanError) as error:
        parse_scale(given(text, "--serve-load-scale"))
    assert error.value.what == f"--serve-load-scale is no factor: {text!r}"
    assert error.value.next_step == "give a number from 0.0001 to 1000, as in 0.05, or auto"
