"""A staged case on fake servers: what is run, at which rates, and what becomes of a capacity that is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from pytest_servebench.arrivals import REFERENCE, Staged, text_of
from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Watch
from pytest_servebench.objective import parse_objective
from pytest_servebench.plan import Case, Load, WireRequest
from pytest_servebench.results import CaseResult, Endpoint, Validity
from pytest_servebench.samples import Outcome, Reply, Samples
from pytest_servebench.staged.outcomes import StageVerdict
from pytest_servebench.staged.run import closed_loop_of, is_staged, limits_of, run_staged
from pytest_servebench.testing.driver import FakeDriver
from tests.echo_house import EchoHouse, Onlooker, deployment, said
from tests.staged_loads import Serving, between, quick, served, staged_load

AUTO = staged_load(REFERENCE.scaled("auto"))


class StagedDriver(FakeDriver):
    """A driver whose staged loads are made up by a rule."""

    serve: Serving = staticmethod(quick)

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        if load.arrivals is None:
            return super().run(endpoint, requests, load, watch)
        self.loads.append(load)
        return served(load, self.serve)


def house(serve: Serving = quick, **given: Any) -> EchoHouse:
    """Return a house whose staged loads end as ``serve`` says."""
    found = EchoHouse(**given)
    driver = StagedDriver(answering=found.answer, clock=found.clock, service_s=0.05)
    driver.serve = serve
    found.driver = driver
    found.pool._driver = driver
    found.rooms = replace(found.rooms, driver=driver)
    return found


def case(load: Load = AUTO, batch: int = 8) -> Case:
    """Return a staged case."""
    return Case(deployment=deployment(batch=batch), load=load)


def run(of: EchoHouse, load: Load = AUTO, batch: int = 8) -> CaseResult:
    """Run a staged case."""
    return run_staged(case(load, batch), of.rooms, of.pool, Onlooker())


def test_given_rates_are_run_as_they_are() -> None:
    """One load, and no capacity."""
    of = house()
    result = run(of, staged_load())
    assert [text_of(load.arrivals) for load in of.driver.loads] == [text_of(staged_load().arrivals)]
    assert result.scaling is None
    assert result.validity is Validity.VALID
    assert [stage.verdict for stage in result.stages[1::2]] == [StageVerdict.PASS] * 2


def test_auto_is_a_share_of_what_twice_the_batch_size_in_flight_is_served() -> None:
    """16 at once, each taking 50 ms: 320 a second; the same server, just before."""
    of = house()
    result = run(of)
    closed, staged = of.driver.loads
    assert (closed.concurrency, closed.arrivals, closed.duration_s, closed.warmup_s) == (16, None, 4.0, 1.0)
    assert result.scaling is not None
    assert result.scaling.capacity_per_s == pytest.approx(320, rel=0.05)
    assert isinstance(staged.arrivals, Staged)
    assert staged.arrivals.peak_per_s == pytest.approx(0.7 * result.scaling.capacity_per_s, rel=1e-3)
    assert result.scaling.arrivals == f"reference x {result.scaling.factor:g}" == str(staged.arrivals)
    assert (result.scaling.in_flight, result.scaling.share, result.scaling.doubt) == (16, 0.7, "")
    assert len(of.launcher.servers) == 1
    assert result.stages[3].begin_per_s == pytest.approx(staged.arrivals.peak_per_s)


def test_the_case_of_a_result_is_the_one_that_was_asked_for() -> None:
    """Its name must not change with what the machine could do today."""
    result = run(house())
    assert result.case == case()
    assert result.case.id.endswith("-reference-x-auto")


def test_every_stage_is_run_whole() -> None:
    """A window that ends when it is precise would leave stages out, and a ramp is not to settle."""
    of = house()
    run(of, replace(AUTO, steady=True, precision=0.05))
    assert {(load.steady, load.precision) for load in of.driver.loads} == {(False, None)}


@pytest.mark.parametrize(
    ("length_s", "duration_s"), [(960.0, 4.0), (20.0, 2.0), (1.0, 0.5)], ids=["most", "tenth", "least"]
)
def test_the_closed_loop_takes_a_tenth_of_the_stages_within_bounds(
    length_s: float, duration_s: float
) -> None:
    """A short form stays short; the reference waits four seconds."""
    load = staged_load(REFERENCE.lasting(length_s).scaled("auto"))
    closed = closed_loop_of(case(load))
    assert (closed.duration_s, closed.warmup_s) == (duration_s, duration_s / 4)
    assert (closed.objective, closed.abort_after_s) == (None, None)


def test_without_a_capacity_no_stage_is_run() -> None:
    """The reason is the closed loop's, and says that it was that."""
    asked = 0

    def broken(images: list[int]) -> Reply:
        nonlocal asked
        asked += 1
        return said(images) if asked <= 16 else said(images, 500)

    of = house(answers=broken)
    result = run(of)
    assert len(of.driver.loads) == 1
    assert result.validity is Validity.ERRORS
    assert result.reason.startswith("in the closed loop that measures the capacity before the stages: ")
    assert (result.summary, result.scaling, result.stages) == (None, None, ())


def test_a_server_that_answers_wrongly_is_not_loaded_at_all() -> None:
    """As in any case."""
    of = house(answers=lambda _images: said([3]))
    assert run(of).validity is Validity.WRONG_OUTPUT
    assert of.driver.loads == []


def test_a_driver_that_cannot_is_told() -> None:
    """Nothing was measured, so nothing is judged."""

    def cannot(_due_s: float) -> float:
        raise LoadError("There are no descriptors left.")

    result = run(house(cannot), staged_load())
    assert result.validity is Validity.ERRORS
    assert result.stages == ()


def test_failures_that_the_objective_allows_are_no_doubt() -> None:
    """1.5% failed: more than is believed of other runs, less than this objective allows."""
    few, number = staged_load(), count()
    result = run(house(lambda due_s: quick(due_s) if next(number) % 70 else Outcome.HTTP_ERROR), few)
    assert result.validity is Validity.VALID
    assert limits_of(few).failed_share == 0.02
    assert limits_of(staged_load(objective=None)).failed_share == 0.01
    assert limits_of(staged_load(objective=parse_objective("p95<=1s,errors<0.1%"))).failed_share == 0.01


def test_dropped_arrivals_fail_their_hold_and_the_run_is_errors() -> None:
    """The percentiles of the whole window would flatter the server; the stage's do not."""
    result = run(house(between(40, 45, Outcome.DROPPED)), staged_load())
    assert result.validity is Validity.ERRORS
    assert not result.publishable
    assert [stage.verdict for stage in result.stages[1::2]] == [StageVerdict.PASS, StageVerdict.FAIL]
    assert result.stages[3].response_time_p95_ms is None


def test_only_staged_loads_have_stages() -> None:
    """Everything else is the conductor's."""
    assert is_staged(case())
    assert not is_staged(case(Load()))
