"""The search for a capacity: it brackets what is there, says what it saw, and always ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.capacity import (
    Attempt,
    Capacity,
    Ending,
    Pace,
    Search,
    SearchLimits,
    Trial,
    capacity_of,
    next_attempt,
)
from pytest_servebench.statistics.early_stopping import Finding

PASS, FAIL, UNDECIDED = Finding.PASS, Finding.FAIL, Finding.UNDECIDED
LIMITS = SearchLimits()
MOST_TRIALS = LIMITS.most_probes + LIMITS.most_sustained
OBJECTIVE = "p95<=50ms,errors<2%"
Oracle = Callable[[Attempt], Trial]

FINDINGS = st.sampled_from([PASS, FAIL, UNDECIDED])
ROUNDING = 1.01
"""Rates have three digits."""


def searched(oracle: Oracle, start_per_s: float = 100.0, limits: SearchLimits = LIMITS) -> Search:
    """Return the whole search that ``oracle`` answers; fails if it does not end."""
    search = Search(start_per_s=start_per_s, limits=limits)
    while (attempt := next_attempt(search)) is not None:
        search = search.told(oracle(attempt))
        assert len(search.trials) <= limits.most_probes + limits.most_sustained
    return search


def found(oracle: Oracle, start_per_s: float = 100.0) -> Capacity:
    """Return what the search that ``oracle`` answers has found."""
    return capacity_of(searched(oracle, start_per_s), OBJECTIVE)


def holds_up_to(capacity_per_s: float, sustained_per_s: float | None = None) -> Oracle:
    """Return a server that holds every rate up to one, and sustains another."""

    def told(attempt: Attempt) -> Trial:
        limit_per_s = (sustained_per_s or capacity_per_s) if attempt.sustained else capacity_per_s
        return trial(attempt, PASS if attempt.rate_per_s <= limit_per_s else FAIL)

    return told


def trial(attempt: Attempt, finding: Finding, *, client_limited: bool = False) -> Trial:
    """Return a trial of ``attempt``."""
    return Trial(
        rate_per_s=attempt.rate_per_s,
        sustained=attempt.sustained,
        finding=finding,
        client_limited=client_limited,
        requests=1000,
        over=300,
        percentile_ms=310.0,
    )


@given(st.floats(0.1, 1e5), st.floats(-5.0, 8.0))
def test_the_answer_brackets_the_capacity_within_the_resolution(start_per_s: float, doublings: float) -> None:
    """Wherever the start lies, the last pass and the first fail are at most 5% apart, around the truth."""
    capacity_per_s = start_per_s * 2**doublings
    answer = found(holds_up_to(capacity_per_s), start_per_s)
    low, high = answer.last_passing_per_s, answer.first_failing_per_s
    assert answer.ending is Ending.FOUND
    assert low is not None
    assert high is not None
    assert low <= capacity_per_s < high
    assert high <= low * (1 + LIMITS.resolution) * ROUNDING
    assert answer.trials[-1].sustained


def test_a_search_out_of_probes_says_that_it_could_be_closer() -> None:
    """A start so far off that the growth took most probes: the gap is told, and why."""
    answer = found(holds_up_to(2.0**11), start_per_s=1.0)
    assert answer.ending is Ending.FOUND
    assert answer.reason == (
        "2040/s held p95<=50ms,errors<2%, 2220/s failed (no closer, because a search has 16 probes)"
    )


def test_a_search_is_short() -> None:
    """Start at half of what holds: one rate more to fail, four to halve the gap, one to confirm."""
    rates = [one.rate_per_s for one in searched(holds_up_to(140.0)).trials]
    assert rates == [100.0, 200.0, 141.0, 119.0, 130.0, 135.0, 135.0]


def test_the_gap_is_halved_in_ratio() -> None:
    """The number of probes does not depend on the scale of the rates."""
    assert len({len(searched(holds_up_to(1.7 * start), start).trials) for start in (1.0, 40.0, 3000.0)}) == 1


def test_a_sustained_run_that_fails_makes_the_search_step_back_and_say_so() -> None:
    """What a short probe held and a long run did not is no capacity."""
    search = searched(holds_up_to(140.0, sustained_per_s=120.0))
    answer = capacity_of(search, OBJECTIVE)
    assert [one.rate_per_s for one in search.sustained] == [135.0, 129.0, 111.0]
    assert (answer.last_passing_per_s, answer.first_failing_per_s) == (111.0, 129.0)
    assert answer.ending is Ending.FOUND
    assert answer.reason == (
        "111/s held p95<=50ms,errors<2%, 129/s failed "
        "(stepped back: the sustained run at 135/s, 129/s did not hold it)"
    )


def test_sustained_runs_that_never_hold_end_undecided() -> None:
    """Probes passed and no long run did: there is no answer, and the figures say why."""
    answer = found(holds_up_to(140.0, sustained_per_s=1.0))
    assert answer.ending is Ending.UNDECIDED
    assert answer.last_passing_per_s is None
    assert sum(one.sustained for one in answer.trials) == LIMITS.most_sustained
    assert answer.reason == (
        "no sustained run held p95<=50ms,errors<2%; the last one: at 71.6/s 300 of 1000 requests were over "
        "the limit, 0 of them without a right answer, p95 310 ms (fail)"
    )


def test_a_server_that_always_fails_holds_no_rate() -> None:
    """The rate shrinks so often, and then the lowest one's figures are told."""
    answer = found(lambda attempt: trial(attempt, FAIL))
    assert answer.ending is Ending.NONE_HOLDS
    assert [one.rate_per_s for one in answer.trials] == [100.0, 50.0, 25.0, 12.5, 6.25, 3.12, 1.56]
    assert (answer.last_passing_per_s, answer.first_failing_per_s) == (None, 1.56)
    assert answer.reason == (
        "no rate holds p95<=50ms,errors<2%: at 1.56/s 300 of 1000 requests were over the limit, "
        "0 of them without a right answer, p95 310 ms (fail)"
    )


def test_rates_that_are_all_undecided_end_undecided() -> None:
    """Undecided is neither held nor failed."""
    answer = found(lambda attempt: trial(attempt, UNDECIDED))
    assert answer.ending is Ending.UNDECIDED
    assert (answer.last_passing_per_s, answer.first_failing_per_s) == (None, None)
    assert answer.reason.startswith("the search for the rate that holds p95<=50ms,errors<2% came to no end")


def test_an_undecided_rate_bounds_the_answer_but_did_not_fail() -> None:
    """The rate reported as failing is one that failed; the sentence names the one in between."""

    def oracle(attempt: Attempt) -> Trial:
        rate = attempt.rate_per_s
        return trial(attempt, PASS if rate < 130 else UNDECIDED if rate < 190 else FAIL)

    answer = found(oracle)
    assert answer.ending is Ending.FOUND
    assert (answer.last_passing_per_s, answer.first_failing_per_s) == (124.0, 200.0)
    assert answer.reason == "124/s held p95<=50ms,errors<2%, 130/s was undecided"


def test_a_late_client_ends_the_search_with_what_was_held_so_far() -> None:
    """Above what the client can send nothing is known: the capacity is at least what held."""

    def oracle(attempt: Attempt) -> Trial:
        late = attempt.rate_per_s > 500
        return trial(attempt, UNDECIDED if late else PASS, client_limited=late)

    answer = found(oracle)
    assert answer.ending is Ending.AT_LEAST
    assert [(one.rate_per_s, one.sustained) for one in answer.trials[-2:]] == [(800.0, False), (400.0, True)]
    assert (answer.last_passing_per_s, answer.first_failing_per_s) == (400.0, None)
    assert answer.reason == (
        "400/s held p95<=50ms,errors<2%, so the capacity is at least that; the client was late at 800/s"
    )


def test_a_client_that_is_late_from_the_start_leaves_nothing_to_say() -> None:
    """No rate is claimed that nobody has seen."""
    answer = found(lambda attempt: trial(attempt, UNDECIDED, client_limited=True))
    assert (answer.ending, answer.last_passing_per_s, len(answer.trials)) == (Ending.AT_LEAST, None, 1)
    assert answer.reason == "nothing is said of 100/s or more, because the client was late"


def test_a_sustained_run_of_a_late_client_held_at_least_that() -> None:
    """It counts its own lateness against the server, and the objective held all the same."""
    answer = found(
        lambda attempt: trial(
            attempt, PASS if attempt.rate_per_s < 150 else FAIL, client_limited=attempt.sustained
        )
    )
    assert answer.ending is Ending.AT_LEAST
    assert answer.last_passing_per_s == 147.0
    assert answer.reason == (
        "147/s held p95<=50ms,errors<2%, so the capacity is at least that; the client was late in that run"
    )


def test_a_server_that_holds_every_rate_is_not_searched_for_ever() -> None:
    """After so many doublings the highest rate is sustained, and the answer is open above."""
    answer = found(lambda attempt: trial(attempt, PASS))
    assert answer.ending is Ending.UNDECIDED
    assert answer.first_failing_per_s is None
    assert len(answer.trials) == LIMITS.most_probes + 1
    assert "no rate tried failed, so the capacity is at least" in answer.reason


def test_a_server_need_not_be_monotonic() -> None:
    """One that fails in a gap and holds above it: the answer held, the one beside it did not."""

    def oracle(attempt: Attempt) -> Trial:
        rate = attempt.rate_per_s
        return trial(attempt, PASS if rate < 60 or 90 < rate < 170 else FAIL)

    answer = found(oracle, start_per_s=80.0)
    assert answer.ending is Ending.FOUND
    low, high = answer.last_passing_per_s, answer.first_failing_per_s
    assert low is not None
    assert high is not None
    assert oracle(Attempt(rate_per_s=low)).passes
    assert not oracle(Attempt(rate_per_s=high)).passes
    assert low < high <= low * (1 + LIMITS.resolution) * ROUNDING


@given(st.floats(0.01, 1e5), st.lists(st.tuples(FINDINGS, st.booleans()), min_size=30, max_size=30))
def test_a_search_ends_whatever_it_is_told(start_per_s: float, told: list[tuple[Finding, bool]]) -> None:
    """Any order of findings ends within the bounds, at positive rates, and something can be said of it."""
    words = iter(told)

    def oracle(attempt: Attempt) -> Trial:
        assert attempt.rate_per_s > 0
        finding, late = next(words)
        return trial(attempt, finding, client_limited=late)

    search = searched(oracle, start_per_s)
    assert len(search.probes) <= LIMITS.most_probes
    assert len(search.sustained) <= LIMITS.most_sustained
    for cut in prefixes(search):
        answer = capacity_of(cut, OBJECTIVE)
        assert answer.reason
        assert (answer.ending is Ending.FOUND) <= (answer.last_passing_per_s is not None)
        if answer.last_passing_per_s is not None and answer.first_failing_per_s is not None:
            assert answer.last_passing_per_s < answer.first_failing_per_s


def prefixes(search: Search) -> Iterator[Search]:
    """Yield the search as it was before each trial, and as it ended."""
    for count in range(len(search.trials) + 1):
        yield replace(search, trials=search.trials[:count])


@pytest.mark.parametrize(
    ("rate_per_s", "sustained", "seconds"),
    [(1000.0, False, 4.0), (1000.0, True, 16.0), (20.0, False, 14.3), (1.0, False, 60.0), (1.0, True, 240.0)],
)
def test_a_trial_is_as_long_as_it_takes_to_decide(rate_per_s: float, sustained: bool, seconds: float) -> None:
    """At least the time asked for, long enough for the requests it takes, and bounded at low rates."""
    attempt = Attempt(rate_per_s=rate_per_s, sustained=sustained)
    assert Pace(duration_s=4.0, fewest=260).first_s(attempt) == pytest.approx(seconds)


@pytest.mark.parametrize(("needed", "seconds"), [(10, 8.0), (1000, 11.0), (100_000, 16.0), (None, 16.0)])
def test_the_second_look_is_longer_as_far_as_the_budget_allows(needed: int | None, seconds: float) -> None:
    """Twice as long at the least, four times at the most, and else as long as decides."""
    pace = Pace(duration_s=4.0, fewest=100)
    assert pace.second_s(Attempt(rate_per_s=100.0), needed) == pytest.approx(seconds)
