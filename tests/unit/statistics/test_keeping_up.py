"""What an open loop offered, what of it was sent, and who is to blame for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_servebench.arrivals import Constant, Stage, Staged
from pytest_servebench.plan import Engine, Load
from pytest_servebench.results import Validity
from pytest_servebench.samples import Outcome
from pytest_servebench.statistics.keeping_up import ArrivalLimits
from pytest_servebench.statistics.summary import ValidityLimits, summarise, validity_of
from tests.rows import Row, samples_of

PACED = Load(arrivals=Constant(100), timeout_s=0.5, max_in_flight=7)


def paced(lag_ms: int = 0, took_ms: int = 10, dropped: int = 0) -> list[Row]:
    """Return 100 arrivals, 10 ms apart, sent so late and answered so long after; the first are dropped."""
    due = range(1005, 2005, 10)
    return [
        (at, -1, -1, Outcome.DROPPED) if i < dropped else (at, at + lag_ms, at + lag_ms + took_ms, Outcome.OK)
        for i, at in enumerate(due)
    ]


def judged_open(rows: Sequence[Row], load: Load = PACED, **rest: Any) -> tuple[Validity, str]:
    """Return whether these rows of an open loop may be believed."""
    samples = samples_of(rows, **rest)
    summary = summarise(samples, items_per_request=1, timeout_s=0.5, open_loop=True)
    return validity_of(summary, samples, load=load)


def test_an_open_loop_is_summarised_from_intent_and_from_sending() -> None:
    """Response time counts from the intended instant, service time from the sent one; offers by their own."""
    samples = samples_of(paced(lag_ms=4, took_ms=6, dropped=2))
    s = summarise(samples, items_per_request=1, timeout_s=0.5, open_loop=True)
    assert (s.response_time_p50_ms, s.response_time_p99_ms) == (10.0, 10.0)
    assert (s.service_time_p50_ms, s.service_time_p95_ms, s.service_time_p99_ms) == (6.0, 6.0, 6.0)
    assert (s.send_lag_p50_ms, s.send_lag_p99_ms) == (4.0, 4.0)
    assert (s.offered_per_s, s.achieved_per_s, s.dropped) == (100.0, 98.0, 2)


def test_a_closed_loop_has_no_lag_and_no_offer() -> None:
    """What is not intended cannot be late; service time is response time."""
    s = summarise(samples_of(paced()[9:20]), items_per_request=1, timeout_s=0.5)
    assert (s.send_lag_p50_ms, s.send_lag_p99_ms, s.offered_per_s) == (None, None, None)
    assert s.service_time_p95_ms == s.response_time_p95_ms == 10.0
    assert s.achieved_per_s == 11.0


def test_a_punctual_open_loop_is_valid_whatever_its_cpu() -> None:
    """It polls on purpose before each arrival, so its CPU says nothing."""
    assert judged_open(paced(), client_cpu_s=0.99) == (Validity.VALID, "")


def test_a_late_client_limits_the_figures() -> None:
    """A send lag that is a good part of the response time is the client's doing, and the remedy is named."""
    validity, reason = judged_open(paced(lag_ms=2))
    assert validity is Validity.CLIENT_LIMITED
    assert reason.startswith(
        "the client sent late: p99 send lag 2 ms, above 1 ms and 5% of the p95 response time"
    )
    assert reason.endswith("send from more processes with --serve-load-workers=N, or lower the rate")
    assert judged_open(paced(lag_ms=2, took_ms=50))[0] is Validity.VALID
    assert judged_open(paced(lag_ms=1))[0] is Validity.VALID


def test_an_idle_client_that_was_late_is_given_room_not_company() -> None:
    """Others kept it from running: one more process of its kind would only wait beside it."""
    reason = judged_open(paced(lag_ms=2), client_cpu_s=0.02)[1]
    assert "it used 2% of a core; leave it a core of its own" in reason
    assert "--serve-load-workers" not in reason


def test_arrivals_that_the_client_did_not_send_in_time_limit_the_figures() -> None:
    """Below 98% of what was offered, the client is what was measured."""
    rows = paced()[:95] + [(at, 2001, 2011, Outcome.OK) for at in range(1955, 2005, 10)]
    patient = ValidityLimits(arrivals=ArrivalLimits(send_lag_ms=1000.0))
    samples = samples_of(rows)
    summary = summarise(samples, items_per_request=1, timeout_s=0.5, open_loop=True)
    validity, reason = validity_of(summary, samples, load=PACED, limits=patient)
    assert validity is Validity.CLIENT_LIMITED
    assert reason.startswith("the client sent 95 of 100 arrivals within the window, below 98%")


def test_an_open_loop_is_held_to_the_ceiling_by_what_it_offers() -> None:
    """100 arrivals a second against a client that can send 120: the punctual ones are luck."""
    samples = samples_of(paced())
    summary = summarise(samples, items_per_request=1, timeout_s=0.5, open_loop=True)
    near, far = (replace(summary, ceiling_per_s=per_s) for per_s in (120.0, 130.0))
    validity, reason = validity_of(near, samples, load=PACED)
    assert validity is Validity.CLIENT_LIMITED
    assert reason.startswith("offered were 100 requests/s, above 80% of the 120 that this client sends")
    assert "--serve-load-workers=N" in reason
    assert validity_of(far, samples, load=PACED)[0] is Validity.VALID


def test_stages_are_held_to_the_ceiling_by_their_highest_rate() -> None:
    """A hold at 8,000/s is no 2,900/s because the rest was quiet; what was not come to does not count."""
    stages = Staged(stages=(Stage(0.2, 50), Stage(0.4, 50), Stage(0.2, 180), Stage(0.2, 0)))
    load = replace(PACED, arrivals=stages, warmup_s=0.0)
    samples = samples_of(paced())
    summary = summarise(samples, items_per_request=1, timeout_s=0.5, open_loop=True)
    validity, reason = validity_of(replace(summary, ceiling_per_s=220.0), samples, load=load)
    assert validity is Validity.CLIENT_LIMITED
    assert reason.startswith("offered at the highest were 180 requests/s, above 80% of the 220 that this")
    assert validity_of(replace(summary, ceiling_per_s=226.0), samples, load=load)[0] is Validity.VALID
    late_peak = replace(load, arrivals=replace(stages, stages=(*stages.stages, Stage(1, 0), Stage(1, 900))))
    assert validity_of(replace(summary, ceiling_per_s=226.0), samples, load=late_peak)[0] is Validity.VALID


def test_the_highest_rate_so_far_is_that_of_the_ramp_or_before() -> None:
    """Jumps count at once."""
    stages = Staged(stages=(Stage(10, 0), Stage(10, 100), Stage(0, 300), Stage(10, 300)), start_per_s=20)
    found = [stages.highest_per_s(at_s) for at_s in (0, 5, 11, 15, 19, 20, 99)]
    assert found == [20, 20, 20, 50, 90, 300, 300]


def test_one_dropped_arrival_is_an_error_of_the_server() -> None:
    """A punctual client that had to drop stands for a user who was not served: nothing is published."""
    validity, reason = judged_open(paced(dropped=1))
    assert validity is Validity.ERRORS
    assert reason.startswith("1 of 100 arrivals were dropped, because 7 requests were in flight")
    assert "lower the rate" in reason
    assert judged_open(paced(dropped=100))[0] is Validity.ERRORS


def test_what_a_late_client_dropped_is_laid_to_the_client() -> None:
    """It did not read the replies that would have made room."""
    assert judged_open(paced(lag_ms=40, dropped=10))[0] is Validity.CLIENT_LIMITED


def test_stages_may_differ_in_their_thirds() -> None:
    """A ramp is meant to be unequal; constant arrivals that are answered unequally are not steady."""
    rows = [row for row in paced() if row[0] < 1050 or row[0] > 1650 or row[0] % 30 == 5] * 3
    assert judged_open(rows)[0] is Validity.UNSTABLE
    ramp = replace(PACED, arrivals=Staged(stages=(Stage(1, 100),)))
    assert judged_open(rows, ramp)[0] is Validity.VALID


def test_a_backlog_that_grows_is_no_steady_state() -> None:
    """A server slower than its arrivals answers ever later: its percentiles measure the run's length."""
    slow = [(1005 + 10 * i, 1005 + 10 * i, 1010 + 20 * i, Outcome.OK) for i in range(100)]
    validity, reason = judged_open(slow)
    assert validity is Validity.UNSTABLE
    assert reason.startswith("requests in flight grew from 0 to 50 within the window, in which 100 were sent")
    assert "lower the rate" in reason
    # A stall near the end leaves some in flight, and a few more than before are chance.
    stalled = [*paced()[:92], *((at, at, 2101, Outcome.OK) for at in range(1925, 2005, 10))]
    assert judged_open(stalled) == (Validity.VALID, "")
    assert judged_open(slow, replace(PACED, arrivals=Staged(stages=(Stage(1, 100),))))[0] is Validity.VALID


BY_K6 = replace(PACED, engine=Engine.K6)


def test_an_engine_that_tells_no_lag_is_not_given_one() -> None:
    """Offers are those of its schedule, and lag is None: 0 would say that it was never late."""
    samples = samples_of(paced(), arrivals_due=125)
    s = summarise(samples, items_per_request=1, timeout_s=0.5, open_loop=True)
    assert (s.offered_per_s, s.achieved_per_s) == (125.0, 100.0)
    assert (s.send_lag_p50_ms, s.send_lag_p99_ms) == (None, None)


def test_an_engine_that_sends_too_little_limits_the_figures() -> None:
    """What its schedule had due and it neither sent nor dropped, it owes."""
    assert judged_open(paced(), BY_K6, arrivals_due=100) == (Validity.VALID, "")
    validity, reason = judged_open(paced(), BY_K6, arrivals_due=125)
    assert validity is Validity.CLIENT_LIMITED
    assert "the client sent 100 of 125 arrivals within the window" in reason


def test_an_engine_that_tells_no_lag_is_judged_by_its_cpu() -> None:
    """Against all the cores that it can use, and not against one as our single thread is."""
    busy = {"arrivals_due": 100, "client_cores": 2}
    assert judged_open(paced(), BY_K6, client_cpu_s=1.7, **busy) == (Validity.VALID, "")
    validity, reason = judged_open(paced(), BY_K6, client_cpu_s=1.9, **busy)
    assert validity is Validity.CLIENT_LIMITED
    assert reason.startswith("the client used 190% of a core of the 2 it can use, above 180%")
