"""Samples become a summary."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.results import Summary
from pytest_servebench.samples import Outcome
from pytest_servebench.statistics.summary import ended_ns, summarise
from tests.rows import MS, Row, ok, samples_of, summary_of


def test_a_request_belongs_to_the_window_it_ends_in() -> None:
    """Begin is excluded, end included: adjoining windows share no request."""
    assert summary_of(ok(999, 1000, 1001, 1500, 2000, 2001)).correct == 3


def test_throughput_is_correct_replies_over_the_window() -> None:
    """Errors take part in the counts and in no rate."""
    rows = [*ok(1100, 1200, 1300), (1000, 1000, 1400, Outcome.HTTP_ERROR)]
    summary = summary_of(rows, items=8)
    assert (summary.window_s, summary.throughput_per_s, summary.images_per_s) == (1.0, 3.0, 24.0)
    assert (summary.correct, summary.errors) == (3, 1)


def test_response_time_counts_from_the_intended_instant() -> None:
    """A request that waited in the client waited."""
    summary = summary_of([(1000, 1300, 1350, Outcome.OK)])
    assert summary.response_time_p50_ms == 350.0


def test_percentiles_interpolate_between_order_statistics() -> None:
    """The p95 of 1..5 ms is 4.8 ms, as numpy's default has it."""
    rows = [(1500 - took, 1500 - took, 1500, Outcome.OK) for took in (3, 1, 5, 2, 4)]
    summary = summary_of(rows)
    assert summary.response_time_p50_ms == pytest.approx(3.0)
    assert summary.response_time_p95_ms == pytest.approx(4.8)
    assert (summary.response_time_min_ms, summary.response_time_max_ms) == (1.0, 5.0)
    assert summary.response_time_mean_ms == pytest.approx(3.0)


def test_an_end_that_was_not_received_is_reckoned() -> None:
    """Time-outs end when their time was up, drops and refusals when they were due."""
    rows = [
        (1000, 1100, -1, Outcome.TIMEOUT),
        (1000, 1100, 1650, Outcome.TIMEOUT),
        (1200, -1, -1, Outcome.DROPPED),
        (1300, 1310, -1, Outcome.TRANSPORT_ERROR),
        (1400, -1, -1, Outcome.TRANSPORT_ERROR),
    ]
    ended = ended_ns(samples_of(rows), timeout_s=0.5) // MS
    assert ended.tolist() == [1600, 1650, 1200, 1310, 1400]
    summary = summary_of(rows)
    assert (summary.timeouts, summary.dropped, summary.errors, summary.correct) == (2, 1, 2, 0)


def test_without_a_request_in_the_window_every_figure_is_missing() -> None:
    """Nothing is never 0."""
    summary = summary_of(ok(500, 2500))
    assert summary == Summary(window_s=1.0, correct=0)
    assert summary.throughput_per_s is None


def test_without_a_correct_reply_there_is_no_response_time() -> None:
    """A failed request's duration is not a response time; its rate of correct replies is 0."""
    summary = summary_of([(1000, 1000, 1400, Outcome.HTTP_ERROR)])
    assert summary.response_time_p95_ms is None
    assert summary.throughput_per_s == 0.0


def test_the_clients_share_is_of_one_core_and_unknown_when_not_measured() -> None:
    """No CPU time at all is a driver that did not measure it."""
    assert summary_of(ok(1500), client_cpu_s=0.25).client_cpu_share == 0.25
    assert summary_of(ok(1500)).client_cpu_share is None


def test_a_window_without_length_is_refused() -> None:
    """There is no rate over no time."""
    samples = replace(samples_of(ok(1500)), window_ns=(5, 5))
    with pytest.raises(ValueError, match="must have a length"):
        summarise(samples, items_per_request=1, timeout_s=1.0)


INSTANT = st.integers(0, 3000)
ROWS = st.lists(
    st.tuples(INSTANT, st.integers(0, 50), st.integers(0, 900), st.sampled_from(Outcome)).map(
        lambda row: (row[0], row[0] + row[1], row[0] + row[1] + row[2], row[3]),
    ),
    max_size=60,
)


@given(ROWS, st.randoms())
def test_a_summary_does_not_depend_on_the_order_of_samples(rows: list[Row], random: Any) -> None:
    """Statistics see a set of requests."""
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = summary_of(rows), summary_of(shuffled)
    assert one.response_time_mean_ms == pytest.approx(other.response_time_mean_ms)
    assert replace(one, response_time_mean_ms=None) == replace(other, response_time_mean_ms=None)


@given(ROWS)
def test_percentiles_are_ordered_and_within_the_extremes(rows: list[Row]) -> None:
    """No percentile leaves min..max or passes a higher one, and all or none of them exist."""
    s = summary_of(rows)
    figures = [
        s.response_time_min_ms,
        s.response_time_p50_ms,
        s.response_time_p95_ms,
        s.response_time_p99_ms,
        s.response_time_max_ms,
    ]
    known = [figure for figure in figures if figure is not None]
    assert len(known) in (0, 5)
    assert (len(known) == 5) == (s.correct > 0)
    assert all(low <= high + 1e-9 for low, high in pairwise(known))


@given(ROWS, st.integers(1, 32))
def test_no_request_is_counted_twice_or_lost(rows: list[Row], items: int) -> None:
    """The outcomes add up to the requests in the window, and rates to the correct ones."""
    s = summary_of(rows, items)
    inside = sum(1000 < row[2] <= 2000 for row in rows)
    assert s.correct + s.wrong + s.errors + s.timeouts + s.dropped == inside
    if s.throughput_per_s is not None:
        assert s.images_per_s is not None
        assert s.throughput_per_s * s.window_s == pytest.approx(s.correct)
        assert s.images_per_s == pytest.approx(s.throughput_per_s * items)
    assert (s.throughput_per_s is None) == (inside == 0)


def test_every_outcome_is_counted_somewhere() -> None:
    """A new outcome cannot vanish from the sums."""
    rows: list[Row] = [(1000, 1000, 1500, outcome) for outcome in Outcome]
    s = summary_of(rows)
    assert s.correct + s.wrong + s.errors + s.timeouts + s.dropped == len(Outcome)
