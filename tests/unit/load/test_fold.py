"""A load too long for its rows loses none: what is folded and what is held say the same as all rows would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.arrivals import Poisson, Stage, Staged
from pytest_servebench.load import fold, sample_log
from pytest_servebench.load.book import Book
from pytest_servebench.load.timeline import TimeLine
from pytest_servebench.load.window import Window
from pytest_servebench.plan import Load
from pytest_servebench.results import Summary
from pytest_servebench.samples import Folded, Outcome, Samples, Tally
from pytest_servebench.statistics.distributions import response_times, service_times
from pytest_servebench.statistics.keeping_up import ArrivalLimits, growing_backlog
from pytest_servebench.statistics.summary import summarise
from tests.made_up import tally_of

MS = 1_000_000
START = 10**12
CHUNK, BOUND = 8, 16
WARM_UP = 50
"""Rows before the window; more than are held."""
LOAD = Load(arrivals=Poisson(100.0), warmup_s=0.1, duration_s=10.0, verify_share=0.2, timeout_s=1.0)
Row = tuple[int, int, int, Outcome]
"""Milliseconds since the row before ended, from intent to sending, from sending to reply; the outcome."""

ROWS = st.lists(
    st.tuples(
        st.integers(0, 30), st.integers(0, 20), st.integers(0, 300), st.sampled_from(list(Outcome)[:-1])
    ),
    min_size=1,
    max_size=150,
)


def run(rows: Sequence[Row], load: Load, bound: int = BOUND) -> tuple[Samples, int]:
    """Return the samples of a load of these rows, cut and folded after each tenth, and their number."""
    with patch.object(sample_log, "CHUNK_ROWS", CHUNK), patch.object(fold, "BOUND_ROWS", bound):
        window = Window(load, START, lambda: 0)
        book = Book.for_load(load, 3)
        line = TimeLine(book.log, START)
        now = START
        for number, (gap, lag, took, outcome) in enumerate(rows):
            now += gap * MS + 1
            sent = now - took * MS
            if outcome is Outcome.DROPPED:
                book.dropped(number % 3, now, "no room")
            elif outcome is Outcome.OK:
                book.correct(
                    number % 3,
                    sent,
                    now,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
                    intended_ns=sent - lag * MS,
                )
            else:
                book.failed(number % 3, sent, now, outcome, "no", intended_ns=sent - lag * MS)
            if number % 10 == 9:
                line.cut(now, 0)
                book.fold_old(window)
                if number == WARM_UP - 1:
                    window.begin(now)
                    book.kept.open_window(now, window.duration_ns)
                    line.open_window(now)
        line.cut(now + 1, 0)
        if len(rows) < WARM_UP:
            window.begin(now)
        window.end(now + 1)
        return book.samples(window, line.slices), len(rows)


def figures(samples: Samples) -> Summary:
    """Return the summary of an open loop."""
    return summarise(samples, items_per_request=1, timeout_s=LOAD.timeout_s, open_loop=True)


@given(ROWS)
def test_a_summary_does_not_depend_on_what_was_folded(rows: list[Row]) -> None:
    """Counts and rates are the same; percentiles and means to a thousandth."""
    folded, whole = run(rows, LOAD)[0], run(rows, LOAD, bound=10**6)[0]
    assert whole.folded is None
    one, other = figures(folded), figures(whole)
    for each in fields(Summary):
        found, expected = getattr(one, each.name), getattr(other, each.name)
        if expected is None or isinstance(expected, (bool, tuple)):
            assert found == expected, each.name
        else:
            assert found == pytest.approx(expected, rel=1e-3), each.name
    assert growing_backlog(folded, LOAD, ArrivalLimits()) == growing_backlog(whole, LOAD, ArrivalLimits())
    assert response_times(folded) == response_times(whole)
    assert service_times(folded) == service_times(whole)


@given(ROWS)
def test_no_request_is_lost_or_counted_twice(rows: list[Row]) -> None:
    """Offered = sent + dropped, and sent = correct + errors + time-outs, in arrays, folded and slices."""
    samples, count = run(rows, LOAD)
    gone = samples.folded or Folded()
    assert len(samples) + gone.requests == count
    ended = np.bincount(samples.outcome, minlength=len(Outcome)) + np.array(gone.outcomes)
    asked = np.bincount([row[3] for row in rows], minlength=len(Outcome))
    assert ended.tolist() == asked.tolist()
    totals = {
        name: sum(getattr(one, name) for one in samples.slices)
        for name in ("offered", "sent", "correct", "failed", "dropped")
    }
    assert totals["offered"] == totals["sent"] + totals["dropped"] == count
    assert totals["sent"] == totals["correct"] + totals["failed"]
    assert (totals["correct"], totals["dropped"]) == (ended[Outcome.OK], ended[Outcome.DROPPED])


@given(ROWS)
def test_kept_replies_keep_their_rows(rows: list[Row]) -> None:
    """Whatever was folded, a kept reply's position leads to a correct row of its own request."""
    folded, whole = run(rows, LOAD)[0], run(rows, LOAD, bound=10**6)[0]
    assert len(folded.replies) == len(whole.replies)
    for one, other in zip(folded.replies, whole.replies, strict=True):
        assert folded.outcome[one] == Outcome.OK
        assert folded.request_index[one] == whole.request_index[other]
        assert folded.received_ns[one] == whole.received_ns[other]
    begun = np.where(folded.sent_ns >= 0, folded.sent_ns, folded.intended_ns)
    assert np.all(np.diff(begun) >= 0)


def test_memory_is_bounded() -> None:
    """Chunks are used again: of 5,000 rows the log holds the bound and three chunks."""
    with patch.object(sample_log, "CHUNK_ROWS", CHUNK), patch.object(fold, "BOUND_ROWS", BOUND):
        book, window = Book.for_load(LOAD, 1), Window(LOAD, START, lambda: 0)
        chunks = set()
        for number in range(5000):
            book.correct(0, START + number, START + number + 1, b"")
            book.fold_old(window)
            chunks.add(id(book.log._chunk))
        assert book.log.held < BOUND + 3 * CHUNK
        assert len(chunks) <= BOUND // CHUNK + 4
        assert len(book.log) == 5000
        assert book.samples(window).folded is not None


def test_a_staged_load_is_folded_by_stage() -> None:
    """Each stage's tally is that of the requests that were due in it, as all rows would say."""
    stages = Staged(start_per_s=0, stages=(Stage(0.5, 50), Stage(0.3, 50), Stage(9.0, 0)))
    load = replace(LOAD, arrivals=stages, warmup_s=0.0)
    random = np.random.default_rng(0)
    rows = [
        (int(gap), int(lag), int(took), Outcome.OK if gap else Outcome.HTTP_ERROR)
        for gap, lag, took in random.integers(0, 20, (200, 3))
    ]
    folded, whole = run(rows, load)[0], run(rows, load, bound=10**6)[0]
    assert folded.folded is not None
    assert len(folded.folded.stages) == 3
    ends_ms = [500, 800, 9800]
    for number, (tally, begin_ms, end_ms) in enumerate(
        zip(folded.folded.stages, [0, *ends_ms], ends_ms, strict=False)
    ):
        held = stage_tally(folded, begin_ms, end_ms)
        assert tally + held == stage_tally(whole, begin_ms, end_ms), number
        assert tally.requests > 0


def stage_tally(samples: Samples, begin_ms: int, end_ms: int) -> Tally:
    """Return the tally of the rows that were due in a stage and ended in the window."""
    at_ms = (samples.intended_ns - START) / MS
    ended = np.where(samples.received_ns >= 0, samples.received_ns, samples.intended_ns)
    chosen = (at_ms >= begin_ms) & (at_ms < end_ms) & (ended > samples.window_ns[0])
    instants = [column[chosen] for column in (samples.intended_ns, samples.sent_ns, samples.received_ns)]
    return tally_of(instants[0], instants[1], instants[2], samples.outcome[chosen])


@given(ROWS, ROWS)
def test_what_two_clients_folded_adds_up(rows: list[Row], others: list[Row]) -> None:
    """Merged percentiles are the pooled ones, so that workers need not send their rows."""
    one, other = (run(part, LOAD)[0].folded or Folded() for part in (rows, others))
    both = one + other
    assert both.requests == one.requests + other.requests
    assert both.inside.response_times == one.inside.response_times + other.inside.response_times
    assert both.inside.requests == one.inside.requests + other.inside.requests
