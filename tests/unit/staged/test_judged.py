"""Whether the stages that hold their rate held the objective: simulated loads with known faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_servebench.arrivals import REFERENCE, Poisson, Stage, Staged
from pytest_servebench.objective import parse_objective
from pytest_servebench.plan import Load
from pytest_servebench.samples import Folded, Outcome, Samples, Tally
from pytest_servebench.staged.judged import stage_results
from pytest_servebench.staged.outcomes import StageResult, StageVerdict
from pytest_servebench.statistics.histogram import Histogram
from tests.staged_loads import FIRST_HOLD, PROFILE, SECOND_HOLD, between, quick, served, staged_load

PASS, FAIL, UNDECIDED = StageVerdict.PASS, StageVerdict.FAIL, StageVerdict.UNDECIDED
NOT_JUDGED, NOT_RUN = StageVerdict.NOT_JUDGED, StageVerdict.NOT_RUN


def stages(samples: Samples, load: Load | None = None) -> tuple[StageResult, ...]:
    """Return the stages of ``samples``."""
    return stage_results(samples, load or staged_load())


def verdicts(found: tuple[StageResult, ...]) -> list[StageVerdict]:
    """Return the verdict on each stage."""
    return [stage.verdict for stage in found]


def test_a_server_that_is_quick_throughout_passes_its_holds() -> None:
    """Counts and rates are those of the schedule; ramps have figures and no verdict."""
    found = stages(served(staged_load()))
    assert verdicts(found) == [NOT_JUDGED, PASS, NOT_JUDGED, PASS, NOT_JUDGED]
    assert [stage.offered for stage in found] == [250, 1000, 1250, 4000, 1000]
    hold = found[SECOND_HOLD]
    assert (hold.offered_per_s, hold.achieved_per_s) == (200.0, 200.0)
    assert (hold.begin_s, hold.duration_s, hold.ran_s) == (40.0, 20.0, 20.0)
    assert (hold.response_time_p50_ms, hold.response_time_p99_ms) == pytest.approx((5.0, 5.0))
    assert (hold.status_share, hold.on_time_share, hold.reason) == (1.0, 1.0, "")


def test_a_hold_that_is_slow_fails_alone() -> None:
    """A long quiet stage does not outweigh it: over the whole load p95 would be 5 ms."""
    found = stages(served(staged_load(), between(40, 41.1, 80.0)))
    assert verdicts(found) == [NOT_JUDGED, PASS, NOT_JUDGED, UNDECIDED, NOT_JUDGED]
    found = stages(served(staged_load(), between(40, 41.5, 80.0)))
    assert verdicts(found) == [NOT_JUDGED, PASS, NOT_JUDGED, FAIL, NOT_JUDGED]
    assert found[SECOND_HOLD].reason == (
        "stage 4 (hold at 200/s) missed p95<=50ms: p95 80 ms, 300 of 4000 requests (7.5%) "
        "took longer or had no right answer"
    )
    assert found[SECOND_HOLD].on_time_share == 1.0


def test_what_goes_wrong_in_a_ramp_is_shown_and_fails_nothing() -> None:
    """k6's thresholds would count it: the objective is for the rates that are held."""
    found = stages(served(staged_load(), between(30, 40, Outcome.HTTP_ERROR)))
    assert verdicts(found) == [NOT_JUDGED, PASS, NOT_JUDGED, PASS, NOT_JUDGED]
    assert (found[2].errors, found[2].correct, found[2].response_time_p50_ms) == (1250, 0, None)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Outcome.DROPPED, "dropped"),
        (Outcome.TIMEOUT, "time-outs"),
        (Outcome.WRONG, "wrong answers"),
        (Outcome.TRANSPORT_ERROR, "errors"),
    ],
)
def test_whatever_is_no_right_answer_misses_the_objective(outcome: Outcome, word: str) -> None:
    """An arrival that was dropped stands for somebody who got nothing; its answer was not quick."""
    found = stages(served(staged_load(), between(15, 17, outcome)))
    hold = found[FIRST_HOLD]
    assert verdicts(found) == [NOT_JUDGED, FAIL, NOT_JUDGED, PASS, NOT_JUDGED]
    assert f"errors<2%: 100 of 1000 requests (10.0%) had no right answer (100 {word})" in hold.reason
    assert hold.response_time_p95_ms is None
    assert hold.response_time_p50_ms == pytest.approx(5.0)
    assert hold.achieved_per_s == (45.0 if outcome is Outcome.DROPPED else 50.0)
    assert hold.status_share == (1.0 if outcome is Outcome.WRONG else 0.9)


def test_too_few_requests_are_no_pass() -> None:
    """As many as decide are told, so that the next run can be long enough."""
    few = Staged(stages=(Stage(10, 2),), start_per_s=2.0)
    (hold,) = stages(served(staged_load(few)), staged_load(few))
    assert hold.verdict is UNDECIDED
    assert hold.reason == (
        "stage 1 (hold at 2/s): p95<=50ms is undecided: 0 of 20 requests missed it; if it goes on so, "
        "about 90 requests decide; and errors<2% is undecided: 0 of 20 requests missed it; if it goes on so, "
        "about 228 requests decide"
    )


def test_a_late_client_decides_nothing() -> None:
    """Neither that the server passed nor, as long as its lateness may be why, that it failed."""
    for load in (served(staged_load(), lag_ms=3.0), served(staged_load(), between(0, 70, 52.0), lag_ms=3.0)):
        hold = stages(load)[FIRST_HOLD]
        assert hold.verdict is UNDECIDED
        assert "the client sent late: p99 send lag 3 ms" in hold.reason


def test_a_late_client_hides_no_server_that_is_slow_without_its_help() -> None:
    """Service times begin when a request was sent."""
    hold = stages(served(staged_load(), between(0, 70, 55.0), lag_ms=3.0))[FIRST_HOLD]
    assert hold.verdict is FAIL
    assert hold.reason == (
        "stage 2 (hold at 50/s) missed p95<=50ms: p95 52 ms, 1000 of 1000 requests (100.0%) took longer or "
        "had no right answer (by service times alone, as the client was late)"
    )


def by_k6(samples: Samples, **changes: Any) -> Samples:
    """Return ``samples`` as an engine tells them that knows when it sent, not when it was to send."""
    fields = {"arrivals_due": len(samples), "client_cores": 2, "client_cpu_s": 70.0, **changes}
    return replace(samples, **fields)


def test_an_engine_that_tells_no_lag_has_none_in_its_stages() -> None:
    """0 would say that it was never late."""
    found = stages(by_k6(served(staged_load())))
    assert {stage.send_lag_p99_ms for stage in found} == {None}
    assert verdicts(found) == [NOT_JUDGED, PASS, NOT_JUDGED, PASS, NOT_JUDGED]
    assert stages(served(staged_load()))[FIRST_HOLD].send_lag_p99_ms == 0.0


def test_a_busy_engine_that_tells_no_lag_blames_no_server() -> None:
    """It is slow itself: with 1.9 of 2 cores busy, what it calls service time is its own too."""
    slow = served(staged_load(), between(0, 70, 90.0))
    assert verdicts(stages(by_k6(slow))) == [NOT_JUDGED, FAIL, NOT_JUDGED, FAIL, NOT_JUDGED]
    found = stages(by_k6(slow, client_cpu_s=1.9 * 70))
    assert verdicts(found) == [NOT_JUDGED, UNDECIDED, NOT_JUDGED, UNDECIDED, NOT_JUDGED]
    assert found[FIRST_HOLD].reason.startswith(
        "stage 2 (hold at 50/s): the client used 190% of a core of the 2 it can use, above 180%"
    )


@pytest.mark.parametrize("time_ms", [5.0, 90.0])
def test_an_engine_that_sends_less_than_is_due_decides_nothing_there(time_ms: float) -> None:
    """What it neither sent nor dropped in a hold it owes; the other hold is judged as ever."""
    samples = served(staged_load(), between(0, 70, time_ms))
    due_s = (samples.intended_ns - samples.window_ns[0]) / 1e9
    kept = ~((due_s >= 10) & (due_s < 30) & (np.arange(len(samples)) % 10 == 0))
    rows = ("intended_ns", "sent_ns", "received_ns", "outcome", "request_index")
    found = stages(by_k6(samples, **{name: getattr(samples, name)[kept] for name in rows}))
    other = PASS if time_ms == quick(0.0) else FAIL
    assert verdicts(found) == [NOT_JUDGED, UNDECIDED, NOT_JUDGED, other, NOT_JUDGED]
    assert "the client sent 900 of 1000 arrivals within the window, below 98%" in found[FIRST_HOLD].reason


def test_what_such_an_engine_had_to_drop_it_does_not_owe() -> None:
    """A drop means that the server left no room, whoever sends."""
    found = stages(by_k6(served(staged_load(), between(15, 17, Outcome.DROPPED))))
    assert found[FIRST_HOLD].verdict is FAIL


def test_a_load_that_ended_early_has_stages_that_were_not_run() -> None:
    """A hold that was cut short has not passed; one that had failed already has."""
    cut = stages(served(staged_load(), until_s=20.0))
    assert verdicts(cut) == [NOT_JUDGED, UNDECIDED, NOT_RUN, NOT_RUN, NOT_RUN]
    assert cut[FIRST_HOLD].reason == "stage 2 (hold at 50/s): the load ended after 10 of its 20 s"
    assert cut[FIRST_HOLD].offered_per_s == pytest.approx(50.0, abs=0.2)
    assert cut[3].reason == "stage 4 (hold at 200/s) was not run: the load ended before it"
    assert (cut[3].offered, cut[3].offered_per_s, cut[3].on_time_share) == (0, None, None)
    failed = stages(served(staged_load(), between(10, 70, 90.0), until_s=20.0))
    assert verdicts(failed)[:3] == [NOT_JUDGED, FAIL, NOT_RUN]


def test_without_an_objective_nothing_is_judged_and_everything_shown() -> None:
    """As for stages under a benchmark that has no objective."""
    load = staged_load(objective=None)
    found = stages(served(load, between(0, 70, 900.0)), load)
    assert set(verdicts(found)) == {NOT_JUDGED}
    assert found[FIRST_HOLD].on_time_share == 0.0


def test_other_loads_have_no_stages() -> None:
    """Nor have stages whose rates nobody knows yet."""
    samples = served(staged_load())
    assert stages(samples, Load(arrivals=Poisson(5))) == ()
    assert stages(samples, Load()) == ()
    assert stages(samples, staged_load(REFERENCE.scaled("auto"))) == ()


def test_the_warm_up_is_in_no_stage() -> None:
    """Its requests are in the samples, and in nobody's figures."""
    load = staged_load(warmup_s=12.0, duration_s=58.0)
    found = stages(served(load), load)
    assert [(stage.number, stage.begin_s, stage.duration_s) for stage in found[:2]] == [
        (2, 12, 18),
        (3, 30, 10),
    ]
    assert found[0].offered == 900


def test_a_window_without_a_start_counts_from_its_warm_up() -> None:
    """Samples of a driver that does not tell when the load began."""
    load = staged_load(warmup_s=5.0, duration_s=65.0)
    told = served(load)
    assert stages(replace(told, started_ns=None), load) == stages(told, load)


def test_folded_requests_count_in_their_stages() -> None:
    """A load of millions is judged by all of them, not by those that are still in the arrays."""
    load = staged_load()
    samples = served(load, between(0, 35, 80.0))
    early = samples.intended_ns < samples.intended_ns[2000]
    outcomes = (Outcome.OK,)

    def tally(count: int) -> Tally:
        counts = tuple(count if one in outcomes else 0 for one in Outcome)
        times = Histogram.of(np.full(count, 80_000_000))
        return Tally(
            outcomes=counts,
            response_times=times,
            service_times=times,
            send_lags=Histogram.of(np.zeros(count, np.int64)),
        )

    rest = {
        name: getattr(samples, name)[~early]
        for name in ("intended_ns", "sent_ns", "received_ns", "outcome", "request_index")
    }
    folded = Folded(stages=(tally(250), tally(1000), tally(750)))
    whole, found = stages(samples), stages(replace(samples, folded=folded, **rest))
    assert verdicts(found) == verdicts(whole) == [NOT_JUDGED, FAIL, NOT_JUDGED, PASS, NOT_JUDGED]
    assert [stage.offered for stage in found] == [stage.offered for stage in whole]
    assert found[FIRST_HOLD].response_time_p95_ms == pytest.approx(80.0, rel=1e-3)


def test_every_limit_of_an_objective_counts() -> None:
    """One that is undecided or missed is enough."""
    load = staged_load(objective=parse_objective("p50<=50ms,p99<=6ms"))
    found = stages(served(load, lambda due_s: quick(due_s) if int(due_s) % 10 else 20.0), load)
    assert found[FIRST_HOLD].verdict is FAIL
    assert found[FIRST_HOLD].reason.startswith(
        "stage 2 (hold at 50/s) missed p99<=6ms: p99 20 ms, 100 of 1000"
    )
    assert PROFILE.length_s == 70.0
