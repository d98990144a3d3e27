"""The capacity of servers whose capacity is known: queues on paper, under the real search and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pytest_servebench.capacity import Capacity, Ending, Trial
from pytest_servebench.capacity_run import decided, find_capacity, finding_of_run
from pytest_servebench.ceiling import OPEN_IN_FLIGHT
from pytest_servebench.errors import PlanError
from pytest_servebench.objective import Objective, parse_objective
from pytest_servebench.plan import Case, Engine, Load, WireRequest
from pytest_servebench.results import CaseResult, Ceiling, Validity
from pytest_servebench.samples import Outcome, Reply, Samples
from pytest_servebench.statistics.early_stopping import Finding
from pytest_servebench.statistics.misses import Assessment
from tests.echo_house import EchoHouse, Onlooker, case, said
from tests.queue_driver import QueueDriver, Rows, mm1_capacity_per_s, queue_house

P95 = parse_objective("p95<=5ms,errors<2%")
TRUE_PER_S = mm1_capacity_per_s(2000.0, 95, 0.005)
PASS, FAIL, UNDECIDED = Finding.PASS, Finding.FAIL, Finding.UNDECIDED


def searched_case(objective: Objective | None = P95, seed: int = 0, duration_s: float = 10.0) -> Case:
    """Return a case whose capacity is looked for, in probes of ten seconds."""
    load = Load(concurrency=16, warmup_s=0.5, duration_s=duration_s, seed=seed)
    return replace(case(), load=load, objective=objective)


def found(house: EchoHouse, one: Case | None = None) -> CaseResult:
    """Return what the search in ``house`` found."""
    return find_capacity(one or searched_case(), house.rooms, house.pool, Onlooker())


def capacity(result: CaseResult) -> Capacity:
    """Return the search of a result that has one."""
    assert result.capacity is not None
    return result.capacity


@pytest.mark.parametrize("seed", range(0, 24_000, 1000))
def test_the_capacity_of_a_queue_is_found_within_the_resolution(seed: int) -> None:
    """M/M/1 of 2,000/s holds p95 <= 5 ms up to 1,401/s: for every seed the answer is about that."""
    house, driver = queue_house(2000.0)
    result = found(house, searched_case(seed=seed))
    answer = capacity(result)
    assert answer.ending is Ending.FOUND
    assert answer.last_passing_per_s is not None
    # 5% of resolution and three standard errors of a sustained run: p95 within 1%, the rate within 3%.
    assert 0.93 * TRUE_PER_S <= answer.last_passing_per_s <= 1.03 * TRUE_PER_S
    assert answer.first_failing_per_s is not None
    assert answer.first_failing_per_s >= 0.97 * TRUE_PER_S
    assert len(driver.loads) <= 20


def test_a_deterministic_server_holds_more_than_a_random_one() -> None:
    """M/D/1 queues half as long as M/M/1, which the search must see."""
    answers = [
        capacity(found(queue_house(2000.0, exponential=exponential)[0])).last_passing_per_s or 0.0
        for exponential in (True, False)
    ]
    assert answers[1] > 1.1 * answers[0]


def test_the_confirming_run_is_the_result() -> None:
    """The record is that of the sustained run at the answer: its arrivals, its window, its percentiles."""
    house, driver = queue_house(2000.0)
    result = found(house)
    answer, summary = capacity(result), result.summary
    assert result.validity is Validity.VALID
    assert result.reason == ""
    assert summary is not None
    assert summary.capacity_per_s == answer.last_passing_per_s
    assert summary.offered_per_s == pytest.approx(answer.last_passing_per_s, rel=0.05)
    assert str(result.case.load.arrivals) == f"poisson:{answer.last_passing_per_s:g}"
    assert result.case.load == driver.loads[-1]
    assert result.case.load.duration_s == 40.0
    assert result.case.id == searched_case().id == "echo-onnx-tensor-http-b8-i1-capacity-p95-5ms-errors-2"
    assert [doing.split()[0] for doing in house.held] == ["starting", "measuring"]
    assert len(house.launcher.servers) == 1


def test_the_search_begins_at_half_of_a_closed_loop() -> None:
    """A closed loop says what the server does when it is busy; every trial has a seed of its own."""
    house, driver = queue_house(2000.0, exponential=False)
    answer = capacity(found(house))
    assert driver.loads[0] == searched_case().load
    assert answer.start_per_s == 1000.0
    assert len({load.seed for load in driver.loads}) == len(driver.loads)
    assert {trial.seed for trial in answer.trials} <= {load.seed for load in driver.loads}


def test_a_window_that_may_end_early_does_not_in_a_search() -> None:
    """A precise window could end before the queue has grown."""
    house, driver = queue_house(2000.0)
    one = searched_case()
    found(house, replace(one, load=replace(one.load, precision=0.1)))
    assert driver.loads[0].precision == 0.1
    assert {load.precision for load in driver.loads[1:]} == {None}


def test_an_undecided_probe_is_looked_at_again_for_longer() -> None:
    """Near the limit a short look decides nothing; the second is up to four times as long."""
    house, driver = queue_house(2000.0)
    answer = capacity(found(house, searched_case(duration_s=0.5)))
    twice = [trial for trial in answer.trials if trial.looks == 2]
    assert twice
    assert all(trial.duration_s >= 1.0 for trial in twice)
    assert len(driver.loads) == 1 + sum(trial.looks for trial in answer.trials)


def test_a_probe_that_fails_narrowly_is_looked_at_again() -> None:
    """A queue's bad moment is not a server's limit; what fails by far is not asked twice."""
    answer = capacity(found(queue_house(2000.0)[0]))
    by_rate = {trial.rate_per_s: trial for trial in answer.trials if not trial.sustained}
    assert by_rate[2000.0].looks == 1
    assert by_rate[1410.0].looks == 2


def test_a_server_that_always_fails_holds_no_rate() -> None:
    """It takes 20 ms alone and the objective says 5: told with the figures of the lowest rate."""
    result = found(queue_house(50.0, exponential=False)[0])
    assert capacity(result).ending is Ending.NONE_HOLDS
    assert result.validity is Validity.UNDECIDED
    assert result.reason.startswith("no rate holds p95<=5ms,errors<2%: at 0.39/s ")
    assert "p95 20 ms (fail)" in result.reason
    assert result.summary is not None
    assert result.summary.capacity_per_s is None


def test_a_batching_server_need_not_be_monotonic() -> None:
    """Slow below 150/s, where it waits to fill its batches: what is claimed held, and the search ends."""
    house, driver = queue_house(lambda rate: 100.0 if rate < 150 else 2000.0)
    answer = capacity(found(house))
    assert answer.ending is Ending.FOUND
    assert answer.last_passing_per_s == pytest.approx(TRUE_PER_S, rel=0.1)
    assert len(driver.loads) < 25


def test_a_client_that_is_late_ends_the_search() -> None:
    """Above 700/s the client sends 40 ms late: the capacity is at least what was held before."""
    house, _ = queue_house(20_000.0, lag_ms=lambda rate: 40.0 if 700 < rate < 1e6 else 0.0)
    one = searched_case(parse_objective("p95<=30ms"))
    driver = house.rooms.driver
    assert isinstance(driver, QueueDriver)
    driver.service_per_s = lambda rate: 20_000.0 if rate < 1e6 else 1000.0
    result = found(house, one)
    answer = capacity(result)
    assert (answer.ending, result.validity) == (Ending.AT_LEAST, Validity.CLIENT_LIMITED)
    assert answer.last_passing_per_s == pytest.approx(500.0, rel=0.02)
    assert answer.trials[-1].sustained
    assert "so the capacity is at least that; the client was late at 992/s: the client sent" in result.reason


def test_errors_beyond_the_objective_fail_a_rate_and_those_within_do_not() -> None:
    """The objective says how many may go wrong, also where runs are else believed up to 1% only."""

    def one_in_fifty(_load: Load, outcome: Rows) -> Rows:
        outcome[::50] = Outcome.HTTP_ERROR
        return outcome

    strict = found(
        queue_house(2000.0, spoil=one_in_fifty)[0], searched_case(parse_objective("p90<=5ms,errors<1%"))
    )
    assert strict.capacity is None or strict.capacity.ending is Ending.NONE_HOLDS
    assert strict.validity is Validity.ERRORS
    loose = found(
        queue_house(2000.0, spoil=one_in_fifty)[0], searched_case(parse_objective("p90<=5ms,errors<4%"))
    )
    assert loose.validity is Validity.VALID
    assert capacity(loose).last_passing_per_s is not None


def test_a_rate_too_low_to_decide_is_not_made_lower() -> None:
    """Without a miss only more requests decide, and a lower rate has fewer: the search says how many."""
    house, driver = queue_house(20.0, exponential=False)
    result = found(house, searched_case(parse_objective("p95<=30s,errors<0.01%"), duration_s=0.3))
    answer = capacity(result)
    assert len(answer.trials) == 1
    assert len(driver.loads) == 3
    assert answer.ending is Ending.UNDECIDED
    assert result.reason.startswith(
        "to decide p95<=30s,errors<0.01% takes 46050 requests, and in the 18 s at "
    )
    assert result.reason.endswith(", without a miss: probe for longer")


def test_a_smoke_run_is_one_loop_and_one_short_probe() -> None:
    """Whatever is found, a slow server and a fast one take two loads, and no rate is claimed."""
    for service_per_s in (50.0, 2000.0):
        house, driver = queue_house(service_per_s, exponential=False)
        one = searched_case(duration_s=0.3)
        result = find_capacity(one, house.rooms, house.pool, Onlooker(), smoke=True)
        assert [load.duration_s for load in driver.loads] == [0.3, 0.3]
        assert [load.arrivals is None for load in driver.loads] == [True, False]
        assert capacity(result).last_passing_per_s is None


def test_the_ceiling_of_a_search_is_that_of_its_probes() -> None:
    """They are open loops: one request in flight in the first loop says nothing of what the client sends."""
    house, _ = queue_house(2000.0)
    asked: list[int] = []

    def ceiling(_requests: Sequence[WireRequest], _reply: Reply, load: Load) -> Ceiling:
        asked.append(load.concurrency)
        return Ceiling(1e6)

    house.rooms = replace(house.rooms, ceiling=ceiling)
    one = searched_case(duration_s=1.0)
    found(house, replace(one, load=replace(one.load, concurrency=1)))
    assert asked == [OPEN_IN_FLIGHT]


def test_a_case_without_an_objective_has_no_capacity() -> None:
    """It says how to give one."""
    with pytest.raises(PlanError, match="this case has none") as caught:
        found(EchoHouse(), searched_case(None))
    assert 'servebench(objective="p95<=50ms,errors<2%")' in caught.value.next_step


def test_an_engine_that_keeps_no_samples_is_refused() -> None:
    """A summary of percentiles cannot tell how many requests missed the objective."""
    house, driver = queue_house(2000.0)
    one = searched_case()
    with pytest.raises(PlanError, match="looks at every request") as caught:
        found(house, replace(one, load=replace(one.load, engine=Engine.K6)))
    assert caught.value.next_step == "use the load engine servebench"
    assert driver.loads == []


def test_a_wrong_server_is_not_searched() -> None:
    """Wrong answers before the load: nothing is sent, and nothing is said of a rate."""
    house, driver = queue_house(2000.0)
    house.answers = lambda images: said([image + 1 for image in images])
    result = found(house)
    assert result.validity is Validity.WRONG_OUTPUT
    assert (result.capacity, driver.loads) == (None, [])


def test_a_server_that_dies_ends_the_search() -> None:
    """Its end is the result; no further rate is tried on a server that is gone."""
    house, driver = queue_house(2000.0)

    def dies_in_the_third_load(_load: Load, outcome: Rows) -> Rows:
        if len(driver.loads) == 3:
            house.server.die(7)
            outcome[:] = Outcome.TRANSPORT_ERROR
        return outcome

    driver.spoil = dies_in_the_third_load
    result = found(house)
    assert result.validity is Validity.ERRORS
    assert "the server ended by itself with exit code 7" in result.reason
    assert len(driver.loads) == 3
    assert len(capacity(result).trials) == 1


@pytest.mark.parametrize(
    ("validity", "response", "service", "sustained", "told"),
    [
        (Validity.VALID, PASS, PASS, False, (PASS, False)),
        (Validity.VALID, FAIL, FAIL, True, (FAIL, False)),
        (Validity.ERRORS, PASS, PASS, False, (FAIL, False)),
        (Validity.UNSTABLE, PASS, PASS, False, (UNDECIDED, False)),
        (Validity.UNSTABLE, FAIL, FAIL, False, (FAIL, False)),
        (Validity.UNDECIDED, PASS, PASS, True, (UNDECIDED, False)),
        (Validity.CLIENT_LIMITED, PASS, PASS, False, (PASS, False)),
        (Validity.CLIENT_LIMITED, PASS, PASS, True, (PASS, True)),
        (Validity.CLIENT_LIMITED, FAIL, FAIL, False, (FAIL, False)),
        (Validity.CLIENT_LIMITED, FAIL, PASS, False, (UNDECIDED, True)),
        (Validity.CLIENT_LIMITED, UNDECIDED, UNDECIDED, True, (UNDECIDED, True)),
    ],
)
def test_a_run_that_may_not_be_believed_never_says_that_a_rate_holds(
    validity: Validity, response: Finding, service: Finding, sustained: bool, told: tuple[Finding, bool]
) -> None:
    """But for a probe that passed although its client was late; and a late client hides no failure."""
    assert finding_of_run(validity, response, service=service, sustained=sustained) == told


@pytest.mark.parametrize(
    ("validity", "finding", "sustained", "enough"),
    [
        (Validity.VALID, FAIL, False, True),
        (Validity.CLIENT_LIMITED, FAIL, False, False),
        (Validity.CLIENT_LIMITED, FAIL, True, True),
        (Validity.CLIENT_LIMITED, PASS, False, True),
    ],
)
def test_a_failure_with_a_late_client_is_looked_at_again(
    validity: Validity, finding: Finding, sustained: bool, enough: bool
) -> None:
    """What kept the client from its core may have kept the server from it."""
    seen = Assessment(
        requests=500, over=200, failed=0, percentile_ms=9.0, finding=finding, narrow=False, needed=None
    )
    assert decided(Trial(rate_per_s=30.0, finding=finding, sustained=sustained), seen, validity) is enough


def test_the_queue_on_paper_is_one() -> None:
    """At a rate it is given, an M/M/1 has the response times that the books say."""
    house, driver = queue_house(2000.0)
    one = replace(searched_case(), objective=None)
    result = found(house)
    samples = result.samples
    assert isinstance(samples, Samples)
    rate = capacity(result).last_passing_per_s
    assert rate is not None
    times_s = (samples.received_ns - samples.intended_ns) / 1e9
    assert np.mean(times_s) == pytest.approx(1 / (2000.0 - rate), rel=0.15)
    assert one.objective is None
    assert driver.loads
