"""Samples become a summary, and a summary is believed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.plan import Load
from pytest_servebench.results import Outcome, Samples, Summary, Validity, Verification
from pytest_servebench.statistics import ended_ns, summarise, validity_of

MS = 1_000_000
WINDOW = (1_000 * MS, 2_000 * MS)
Row = tuple[int, int, int, Outcome]
"""Intended, sent and received in milliseconds (-1: did not happen), and the outcome."""


def samples_of(rows: Sequence[Row], **rest: Any) -> Samples:
    """Return samples with these rows in a window from 1,000 to 2,000 ms."""
    instants = np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3)
    instants[instants >= 0] *= MS
    return Samples(
        intended_ns=instants[:, 0],
        sent_ns=instants[:, 1],
        received_ns=instants[:, 2],
        outcome=np.array([row[3] for row in rows], dtype=np.uint8),
        request_index=np.zeros(len(rows), dtype=np.int32),
        window_ns=WINDOW,
        **rest,
    )


def ok(*ended_ms: int, took_ms: int = 10) -> list[Row]:
    """Return correct replies that ended at these milliseconds."""
    return [(end - took_ms, end - took_ms, end, Outcome.OK) for end in ended_ms]


def summary_of(rows: Sequence[Row], items: int = 1, **rest: Any) -> Summary:
    """Return the summary of these rows."""
    return summarise(samples_of(rows, **rest), items_per_request=items, timeout_s=0.5)


def judged(
    rows: Sequence[Row],
    concurrency: int = 1,
    verifications: Sequence[Verification | None] = (),
    **rest: Any,
) -> tuple[Validity, str]:
    """Return whether these rows may be believed."""
    samples = samples_of(rows, **rest)
    load = Load(concurrency=concurrency, timeout_s=0.5)
    summary = summarise(samples, items_per_request=1, timeout_s=0.5)
    return validity_of(summary, samples, load=load, verifications=verifications)


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


@settings(deadline=None)  # a shared machine may stall for longer than any limit
@given(ROWS, st.randoms())
def test_a_summary_does_not_depend_on_the_order_of_samples(rows: list[Row], random: Any) -> None:
    """Statistics see a set of requests."""
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = summary_of(rows), summary_of(shuffled)
    assert one.response_time_mean_ms == pytest.approx(other.response_time_mean_ms)
    assert replace(one, response_time_mean_ms=None) == replace(other, response_time_mean_ms=None)


@settings(deadline=None)  # a shared machine may stall for longer than any limit
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


@settings(deadline=None)  # a shared machine may stall for longer than any limit
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


# --- validity

STEADY = ok(*range(1005, 2000, 5))


def test_a_steady_window_without_faults_is_valid() -> None:
    """Nothing wrong is found where nothing is wrong."""
    assert judged(STEADY, verifications=(None, Verification(compared=3))) == (Validity.VALID, "")


def test_a_mismatch_is_wrong_output_and_outweighs_everything() -> None:
    """A fast wrong answer is never published, however else the run went."""
    wrong = Verification(compared=4, mismatches=("image 3 answered 7, not 9", "more"))
    rows = [(1000, 1000, 1100, Outcome.HTTP_ERROR)]
    assert judged(rows, verifications=(None, wrong)) == (
        Validity.WRONG_OUTPUT,
        "2 of 4 answers compared are not the reference's; first: image 3 answered 7, not 9",
    )
    marked = [*STEADY, (1000, 1000, 1100, Outcome.WRONG)]
    assert judged(marked) == (Validity.WRONG_OUTPUT, "1 of 200 answers in the window are not the reference's")


@pytest.mark.parametrize(
    ("failed", "validity"),
    [(0, Validity.VALID), (2, Validity.VALID), (3, Validity.ERRORS)],
)
def test_up_to_one_percent_of_failures_is_borne(failed: int, validity: Validity) -> None:
    """2 of 201 are below 1%, 3 of 202 are above."""
    rows = [*STEADY, *[(1000, 1000, 1100, Outcome.HTTP_ERROR)] * failed]
    assert judged(rows)[0] is validity


def test_errors_are_told_with_their_counts_and_the_first() -> None:
    """The reason is enough to start looking."""
    rows = [
        (1000, 1000, 1100, Outcome.HTTP_ERROR),
        (1000, 1000, 1200, Outcome.TRANSPORT_ERROR),
        (1000, 1100, -1, Outcome.TIMEOUT),
    ]
    validity, reason = judged(rows, first_error="HTTP 503: queue full")
    assert validity is Validity.ERRORS
    assert reason == (
        "3 of 3 requests of the window failed, above 0.01 of them (2 errors, 1 time-outs, "
        "0 sent before its end and failed after it); first: HTTP 503: queue full"
    )


def test_a_server_that_hangs_is_not_merely_slow() -> None:
    """Requests sent in the window and given up after it are failures of the window."""
    rows = [*ok(*range(1002, 1300, 2)), *[(1300, 1300, 2600, Outcome.TIMEOUT)] * 8]
    validity, reason = judged(rows, concurrency=8)
    assert validity is Validity.ERRORS
    assert "8 sent before its end and failed after it" in reason


def test_a_request_sent_after_the_window_has_nothing_to_do_with_it() -> None:
    """What the driver does while it ends is not measured."""
    assert judged([*STEADY, *[(2100, 2100, 2200, Outcome.TRANSPORT_ERROR)] * 50])[0] is Validity.VALID


def test_a_window_in_which_nothing_ended_decides_nothing() -> None:
    """Slower than the window is not an error, and not valid; the remedy is named."""
    validity, reason = judged([(1000, 1000, 2400, Outcome.OK)])
    assert validity is Validity.UNDECIDED
    assert reason == "no request ended within the window of 1 s; make it longer with --serve-duration"


def test_a_client_that_used_its_core_up_is_the_limit() -> None:
    """Above 90% of a core the figures may be the client's."""
    assert judged(STEADY, client_cpu_s=0.9)[0] is Validity.VALID
    assert judged(STEADY, client_cpu_s=0.95) == (
        Validity.CLIENT_LIMITED,
        "the client used 95% of a core, above 90%: it may be what limits these figures, not the server",
    )


def test_a_window_that_slows_down_by_half_and_more_is_unstable() -> None:
    """One third with under half of another's replies is not one steady state."""
    rows = ok(*range(1002, 1666, 5), *range(1670, 2000, 15))
    assert judged(rows) == (
        Validity.UNSTABLE,
        "the thirds of the window hold 67, 66, 22 correct replies: more than 2 to 1",
    )


def test_few_replies_are_never_called_unstable() -> None:
    """At 40 replies per window a ratio of thirds would be chance."""
    assert judged(ok(*range(1010, 1400, 10), 1950))[0] is Validity.VALID


def test_whole_batches_at_a_boundary_are_not_instability() -> None:
    """64 in flight answered 32 at a time: thirds of 96 and 32 replies are luck of the cut."""
    rows = [row for end in (1050, 1150, 1250, 1400, 1700, 1850) for row in ok(*[end] * 32)]
    assert judged(rows, concurrency=64)[0] is Validity.VALID


def test_both_ends_are_given_one_batch_of_luck() -> None:
    """80, 80 and 30 replies are a slow-down with 1 in flight; with 8 they may be the cut."""
    rows = ok(*range(1002, 1332, 4)[:80], *range(1340, 1660, 4), *range(1670, 1970, 10))
    assert judged(rows, concurrency=1)[0] is Validity.UNSTABLE
    assert judged(rows, concurrency=8)[0] is Validity.VALID


@settings(deadline=None)  # a shared machine may stall for longer than any limit
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 8, 16]), st.integers(30, 400))
def test_steady_batched_service_is_never_called_unstable(seed: int, batch: int, replies: int) -> None:
    """A server that answers whole batches at a jittering pace stays valid."""
    pace = np.random.default_rng(seed)
    gaps = pace.uniform(0.7, 1.3, size=2 * (replies // batch + 1)) * 1000 * batch / replies
    ends = 1000 + np.cumsum(gaps)
    rows = [row for end in ends for row in ok(*[int(end)] * batch)]
    assert judged(rows, concurrency=2 * batch)[0] is Validity.VALID


def test_every_outcome_is_counted_somewhere() -> None:
    """A new outcome cannot vanish from the sums."""
    rows: list[Row] = [(1000, 1000, 1500, outcome) for outcome in Outcome]
    s = summary_of(rows)
    assert s.correct + s.wrong + s.errors + s.timeouts + s.dropped == len(Outcome)
