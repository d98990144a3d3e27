"""Misses of an objective: of all arrivals that were due in the window, answered or not."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_servebench.early_stopping import Finding
from pytest_servebench.misses import assess, fewest_requests, joined, service_times_of, times_of
from pytest_servebench.objective import parse_objective
from pytest_servebench.samples import Outcome, Samples

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
    assert times_of(SEEN).tolist() == [10.0, INF, INF, INF, INF, 70.0]


def test_service_times_leave_out_what_was_never_sent() -> None:
    """The server is not to blame for what the client dropped."""
    assert service_times_of(SEEN).tolist() == [8.0, INF, INF, INF, 69.0]


def test_a_dropped_arrival_misses_every_limit() -> None:
    """It is over the limit on times, and an error."""
    seen = assess(np.array([1.0, INF, 60.0]), parse_objective("p95<=50ms,errors<2%"))
    assert (seen.requests, seen.over, seen.failed, seen.percentile_ms) == (3, 2, 1, None)


@pytest.mark.parametrize(
    ("slow", "failed", "finding"),
    [(0, 0, PASS), (30, 0, UNDECIDED), (200, 0, FAIL), (0, 8, UNDECIDED), (0, 60, FAIL), (15, 0, PASS)],
)
def test_all_limits_must_hold(slow: int, failed: int, finding: Finding) -> None:
    """Of 600 requests: one limit that fails is enough, one undecided keeps the others from passing."""
    times = np.array([60.0] * slow + [INF] * failed + [10.0] * (600 - slow - failed))
    seen = assess(times, parse_objective("p95<=50ms,errors<2%"))
    assert seen.finding is finding
    assert (seen.over, seen.failed) == (slow + failed, failed)


def test_exactly_at_the_limit_is_in_or_out_as_the_sign_says() -> None:
    """``<=`` holds there, ``<`` does not."""
    times = np.full(200, 50.0)
    assert assess(times, parse_objective("p95<=50ms")).finding is PASS
    assert assess(times, parse_objective("p95<50ms")).finding is FAIL


def test_what_is_undecided_says_how_many_requests_decide() -> None:
    """The most that any limit needs; what is decided needs no more."""
    objective = parse_objective("p95<=50ms,errors<2%")
    few = assess(np.full(100, 10.0), objective)
    assert (few.finding, few.needed) == (UNDECIDED, 228)  # 0.98 ** 228 is below 1%
    assert assess(np.full(300, 10.0), objective).needed == 300
    at_the_limit = np.array([60.0] * 5 + [10.0] * 95)
    assert assess(at_the_limit, parse_objective("p95<=50ms")).needed is None


def test_the_percentile_is_an_order_statistic() -> None:
    """Of 1 to 100 the 95th; between a time and a failure nothing is interpolated."""
    objective = parse_objective("p95<=50ms")
    assert assess(np.arange(1.0, 101.0), objective).percentile_ms == 95.0
    assert assess(np.array([*range(1, 96), *[INF] * 5], dtype=float), objective).percentile_ms == 95.0
    assert assess(np.array([*range(1, 95), *[INF] * 6], dtype=float), objective).percentile_ms is None


@pytest.mark.parametrize(
    ("slow", "narrow"), [(0, False), (85, True), (100, True), (101, False), (1000, False)]
)
def test_a_limit_may_fail_narrowly(slow: int, narrow: bool) -> None:
    """Up to twice the misses allowed; what does not fail is not narrow."""
    seen = assess(np.array([60.0] * slow + [10.0] * (1000 - slow)), parse_objective("p95<=50ms"))
    assert seen.narrow is narrow


def test_nothing_seen_says_nothing() -> None:
    """A window without arrivals is undecided, whatever the limits."""
    seen = assess(np.empty(0), parse_objective("p95<=50ms,errors<2%"))
    assert (seen.requests, seen.finding, seen.percentile_ms) == (0, UNDECIDED, None)


def test_an_objective_of_errors_alone_has_no_time() -> None:
    """Nothing is over a limit that is not there."""
    seen = assess(np.array([INF] + [99.0] * 499), parse_objective("errors<2%"))
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
