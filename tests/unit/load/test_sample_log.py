"""Rules of the sample log: every row once, in order of sending, whatever the order of completion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load import sample_log
from pytest_servebench.load.sample_log import CHUNK_ROWS, SampleLog, code_of
from pytest_servebench.samples import Outcome

rows = st.lists(
    st.tuples(
        st.integers(0, 10**12), st.integers(0, 10**9), st.integers(0, 10**6), st.sampled_from(list(Outcome))
    ),
    max_size=60,
)


@given(rows)
def test_every_row_comes_back_once_in_order_of_sending(
    written: list[tuple[int, int, int, Outcome]],
) -> None:
    """No row is lost, doubled or mixed, across chunk borders too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_log, "CHUNK_ROWS", 8)
        log = SampleLog()
        for sent, span, index, outcome in written:
            if outcome is Outcome.OK:
                log.add(sent - 1, sent, sent + span, code_of(index))
            else:
                log.add_failure((sent - 1, sent, sent + span), index, outcome)
        read = log.rows()
        assert len(log) == len(written)
        assert log.correct == sum(outcome is Outcome.OK for *_, outcome in written)
        assert log.correct + log.errors == len(written)
    expected = sorted(written, key=lambda row: row[0])
    seen = zip(read.sent_ns, read.received_ns - read.sent_ns, read.request_index, read.outcome, strict=True)
    assert [tuple(int(x) for x in row) for row in seen] == [tuple(int(x) for x in row) for row in expected]
    assert np.array_equal(read.intended_ns, read.sent_ns - 1)


@given(rows)
def test_a_row_number_leads_to_its_row(written: list[tuple[int, int, int, Outcome]]) -> None:
    """A reply kept under its row's number finds its sample after sorting."""
    log = SampleLog()
    numbers = [log.add(sent, sent, sent + span, code_of(index)) for sent, span, index, _ in written]
    read = log.rows()
    for number, (sent, span, index, _) in zip(numbers, written, strict=True):
        at = read.positions([number])[0]
        assert (read.sent_ns[at], read.received_ns[at], read.request_index[at]) == (sent, sent + span, index)


def test_row_numbers_go_on_across_chunks() -> None:
    """A full chunk is followed by the next without a gap."""
    log = SampleLog()
    numbers = [log.add(i, i, i + 1, code_of(0)) for i in range(CHUNK_ROWS + 5)]
    assert numbers == list(range(CHUNK_ROWS + 5))
    assert len(log.rows().sent_ns) == CHUNK_ROWS + 5


def test_the_recent_p95_is_that_of_the_latest_replies() -> None:
    """The figure a person watches follows the load, and is None before the first reply."""
    log = SampleLog()
    assert log.recent_p95_ms() is None
    for _ in range(CHUNK_ROWS):
        log.add(0, 0, 9_000_000, code_of(0))
    for ms in range(1, 101):
        log.add(0, 0, ms * 1_000_000, code_of(0))
    assert log.recent_p95_ms() == 9.0  # too few in this chunk: the last one's
    for _ in range(5000):
        log.add(0, 0, 2_000_000, code_of(0))
    assert log.recent_p95_ms() == 2.0
