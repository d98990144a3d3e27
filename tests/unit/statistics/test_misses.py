"""Misses of an objective: of all arrivals that were due in the window, answered or not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pytest_servebench.objective import parse_objective
from pytest_servebench.samples import Folded, Outcome, Samples, Tally
from pytest_servebench.staged.stages import Due, Ordered
from pytest_servebench.statistics.early_stopping import Finding
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.misses import assess, fewest_requests, joined, service_times_of, times_of

MS = 1_000_000
INF = float("inf")
PASS, FAIL, UNDECIDED = Finding.PASS, Finding.FAIL, Finding.UNDECIDED


def samples(*rows: tuple[int, int, int, Outcome]) -> Samples:
    """Return samples of (intended, sent, received) in ms, -1 where it did not happen; window 100 to 200."""
    instants = np.array([row[:3] for row in rows], dtype=np.int64)
    intended, sent, received = np.where(instants < 0, -1, instants * MS).T
    return Samples(
        intended_ns=intended,
        sent_ns=sent,
        received_ns=received,
        outcome=np.array([row[3] for row in rows], dtype=np.uint8),
        request_index=np.zeros(len(rows), dtype=np.int32),
        window_ns=(100 * MS, 200 * MS),
    )


def due(times_ms: npt.NDArray[np.float64]) -> Due:
    """Return arrivals with these response times; without a right answer where infinite."""
    right = times_ms[np.isfinite(times_ms)]
    outcomes = [len(right), len(times_ms) - len(right), *[0] * (len(Outcome) - 2)]
    times = Ordered.of(right)
    return Due(outcomes=tuple(outcomes), times=times, service_times=times, send_lags=Ordered.of(np.empty(0)))


SEEN = samples(
    (90, 90, 150, Outcome.OK),  # due in the warm-up
    (110, 112, 120, Outcome.OK),
    (120, 120, 130, Outcome.WRONG),
    (130, 135, 140, Outcome.HTTP_ERROR),
    (140, -1, -1, Outcome.DROPPED),
    (150, 150, -1, Outcome.TIMEOUT),
    (190, 191, 260, Outcome.OK),  # answered after the window
    (210, 210, 220, Outcome.OK),  # due after it
)


def test_every_arrival_due_in_the_window_counts_and_only_right_answers_have_a_time() -> None:
    """Failures, wrong answers, time-outs and dropped arrivals are infinitely late."""
    seen = times_of(SEEN)
    assert (seen.offered, seen.correct, seen.times.values_ms.tolist()) == (6, 2, [10.0, 70.0])


def test_service_times_leave_out_what_was_never_sent() -> None:
    """The server is not to blame for what the client dropped."""
    seen = service_times_of(SEEN)
    assert (seen.offered, seen.correct, seen.times.values_ms.tolist()) == (5, 2, [8.0, 69.0])


def test_requests_without_rows_miss_an_objective_too() -> None:
    """Early misses of a load too long to keep do not vanish: slow, failed or dropped."""
    early = np.array([60] * 60 + [10] * 133, dtype=np.int64) * MS
    service = np.array([60] * 20 + [10] * 173, dtype=np.int64) * MS
    outcomes = [0] * len(Outcome)
    outcomes[Outcome.OK], outcomes[Outcome.TIMEOUT], outcomes[Outcome.DROPPED] = 193, 5, 2
    inside = Tally(
        outcomes=tuple(outcomes),
        response_times=Histogram.of(early),
        service_times=Histogram.of(service),
    )
    rows = samples(*[(110, 111, 120, Outcome.OK)] * 800)
    folded = replace(rows, folded=Folded(outcomes=inside.outcomes, inside=inside, offered=200))
    objective = parse_objective("p95<=50ms")
    assert assess(times_of(rows), objective).finding is PASS
    seen = assess(times_of(folded), objective)
    assert (seen.requests, seen.over, seen.failed, seen.finding) == (1000, 67, 7, UNDECIDED)
    assert seen.percentile_ms == pytest.approx(60.0, rel=0.001)
    served = assess(service_times_of(folded), objective)
    assert (served.requests, served.over, served.failed, served.finding) == (998, 25, 5, PASS)


def test_a_dropped_arrival_misses_every_limit() -> None:
    """It is over the limit on times, and an error."""
    seen = assess(due(np.array([1.0, INF, 60.0])), parse_objective("p95<=50ms,errors<2%"))
    assert (seen.requests, seen.over, seen.failed, seen.percentile_ms) == (3, 2, 1, None)


@pytest.mark.parametrize(
    ("slow", "failed", "finding"),
    [(0, 0, PASS), (30, 0, UNDECIDED), (200, 0, FAIL), (0, 8, UNDECIDED), (0, 60, FAIL), (15, 0, PASS)],
)
def test_all_limits_must_hold(slow: int, failed: int, finding: Finding) -> None:
    """Of 600 requests: one limit that fails is enough, one undecided keeps the others from passing."""
    times = np.array([60.0] * slow + [INF] * failed + [10.0] * (600 - slow - failed))
    seen = assess(due(times), parse_objective("p95<=50ms,errors<2%"))
    assert seen.finding is finding
    assert (seen.over, seen.failed) == (slow + failed, failed)


def test_exactly_at_the_limit_is_in_or_out_as_the_sign_says() -> None:
    """``<=`` holds there, ``<`` does not."""
    times = np.full(200, 50.0)
    assert assess(due(times), parse_objective("p95<=50ms")).finding is PASS
    assert assess(due(times), parse_objective("p95<50ms")).finding is FAIL


def test_what_is_undecided_says_how_many_requests_decide() -> None:
    """The most that any limit needs; what is decided needs no more."""
    objective = parse_objective("p95<=50ms,errors<2%")
    few = assess(due(np.full(100, 10.0)), objective)
    assert (few.finding, few.needed) == (UNDECIDED, 228)  # 0.98 ** 228 is below 1%
    assert assess(due(np.full(300, 10.0)), objective).needed == 300
    at_the_limit = np.array([60.0] * 5 + [10.0] * 95)
    assert assess(due(at_the_limit), parse_objective("p95<=50ms")).needed is None


def test_the_percentile_is_an_order_statistic() -> None:
    """Of 1 to 100 the 95th; between a time and a failure nothing is interpolated."""
    objective = parse_objective("p95<=50ms")
    assert assess(due(np.arange(1.0, 101.0)), objective).percentile_ms == 95.0
    assert assess(due(np.array([*range(1, 96), *[INF] * 5], dtype=float)), objective).percentile_ms == 95.0
    assert assess(due(np.array([*range(1, 95), *[INF] * 6], dtype=float)), objective).percentile_ms is None


@pytest.mark.parametrize(
    ("slow", "narrow"), [(0, False), (85, True), (100, True), (101, False), (1000, False)]
)
def test_a_limit_may_fail_narrowly(slow: int, narrow: bool) -> None:
    """Up to twice the misses allowed; what does not fail is not narrow."""
    seen = assess(due(np.array([60.0] * slow + [10.0] * (1000 - slow))), parse_objective("p95<=50ms"))
    assert seen.narrow is narrow


def test_nothing_seen_says_nothing() -> None:
    """A window without arrivals is undecided, whatever the limits."""
    seen = assess(due(np.empty(0)), parse_objective("p95<=50ms,errors<2%"))
    assert (seen.requests, seen.finding, seen.percentile_ms) == (0, UNDECIDED, None)


def test_an_objective_of_errors_alone_has_no_time() -> None:
    """Nothing is over a limit that is not there."""
    seen = assess(due(np.array([INF] + [99.0] * 499)), parse_objective("errors<2%"))
    assert (seen.over, seen.failed, seen.percentile_ms, seen.finding) == (0, 1, None, PASS)


@pytest.mark.parametrize(
    ("objective", "fewest"),
    [("p95<=1s", 259), ("p99<=1s", 1307), ("errors<2%", 228), ("p95<=1s,errors<1%", 459), ("errors<=0%", 1)],
)
def test_a_window_has_room_for_some_misses(objective: str, fewest: int) -> None:
    """Five of a limit on times, as in MLPerf's table; no error is expected of a good server."""
    assert fewest_requests(parse_objective(objective)) == fewest


def test_findings_join_to_the_worst() -> None:
    """FAIL before UNDECIDED before PASS."""
    assert joined([PASS, PASS]) is PASS
    assert joined([PASS, UNDECIDED]) is UNDECIDED
    assert joined([UNDECIDED, FAIL, PASS]) is FAIL
