"""The time line: regular slices, without gaps, of which there are never too many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load import timeline
from pytest_servebench.load.sample_log import SampleLog, code_of
from pytest_servebench.load.timeline import TimeLine
from pytest_servebench.samples import Outcome, Slice
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.slices import STEP_NS, coarsened, grouped, joined, side_by_side

MS = 1_000_000
START = 10**12


def filled(log: SampleLog, count: int, ended_ns: int, took_ns: int = 3 * MS) -> None:
    """Write down correct replies."""
    for _ in range(count):
        log.add(ended_ns - took_ns, ended_ns - took_ns, ended_ns, code_of(0))


def test_a_slice_tells_what_ended_and_what_was_sent_in_it() -> None:
    """What is in flight at an edge was sent before it and ends after it."""
    log = SampleLog()
    line = TimeLine(log, START)
    filled(log, 5, START + 50 * MS)
    log.add_failure((START, START, START + 60 * MS), 0, Outcome.TIMEOUT)
    log.add_failure((START + 70 * MS, -1, -1), 0, Outcome.DROPPED)
    line.cut(START + STEP_NS, 4)
    filled(log, 4, START + 150 * MS)
    line.cut(START + 2 * STEP_NS, 1)
    first, second = line.slices
    assert (first.offered, first.sent, first.correct, first.failed, first.dropped) == (11, 10, 5, 1, 1)
    assert (second.offered, second.sent, second.correct, second.failed) == (1, 1, 4, 0)
    assert first.response_times == Histogram.of(np.full(5, 3 * MS))
    assert (first.begin_ns, first.end_ns, second.end_ns) == (START, START + STEP_NS, START + 2 * STEP_NS)


def test_the_windows_slices_begin_with_it() -> None:
    """A slice is in the warm-up or in the window, never in both; the window counts its own steps."""
    line = TimeLine(SampleLog(), START)
    line.cut(START + STEP_NS, 1)
    line.cut(START + STEP_NS + 30 * MS, 1)
    line.open_window(START + STEP_NS + 30 * MS)
    assert line.edge_ns == START + 2 * STEP_NS + 30 * MS
    line.cut(line.edge_ns, 1)
    assert (len(line.warm_up), len(line.window)) == (2, 1)
    assert line.window[0].begin_ns == line.warm_up[-1].end_ns


def test_no_slice_without_a_length_or_before_anything_began() -> None:
    """A load without warm-up has none of a few microseconds."""
    line = TimeLine(SampleLog(), START)
    line.cut(START, 0)
    line.cut(START + 5000, 0)
    assert line.slices == ()
    line.open_window(START + 5000)
    line.cut(line.edge_ns, 0)
    assert len(line.slices) == 1, "a server that says nothing has slices all the same"


@given(st.lists(st.integers(0, 7), min_size=1, max_size=200), st.integers(0, 60))
def test_slices_are_bounded_and_lose_nothing(counts: list[int], warm_up: int) -> None:
    """However long the load is: no gaps, no overlaps, no reply lost, and lengths that differ by little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "MOST_SLICES", 20)
        log = SampleLog()
        line = TimeLine(log, START)
        for number, count in enumerate(counts):
            now = START + (number + 1) * STEP_NS
            filled(log, count, now - MS)
            if now >= line.edge_ns:
                line.cut(now, 1)
            if number == warm_up:
                line.cut(now, 1)
                line.open_window(now)
        line.cut(START + len(counts) * STEP_NS, 1)
    slices = line.slices
    assert len(slices) <= 22
    assert all(one.end_ns == other.begin_ns for one, other in pairwise(slices))
    assert (slices[0].begin_ns, slices[-1].end_ns) == (START, START + len(counts) * STEP_NS)
    assert sum(one.correct for one in slices) == sum(counts)
    assert Histogram.merged(one.response_times for one in slices).count == sum(counts)


def made(counts: list[int], begin_ns: int = 0, step_ns: int = 10) -> tuple[Slice, ...]:
    """Return slices with these correct replies."""
    return tuple(
        Slice(
            begin_ns=begin_ns + k * step_ns,
            end_ns=begin_ns + (k + 1) * step_ns,
            offered=n,
            sent=n,
            correct=n,
            response_times=Histogram.of(np.arange(n) + k),
        )
        for k, n in enumerate(counts)
    )


COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=50)


@given(COUNTS, st.integers(1, 30))
def test_coarser_slices_are_the_same_line(counts: list[int], at_most: int) -> None:
    """Joining loses nothing: edges, counts and times together are as they were."""
    slices = made(counts)
    coarse = coarsened(slices, at_most)
    assert len(coarse) <= at_most
    assert joined(coarse) == joined(slices)
    assert all(one.end_ns == other.begin_ns for one, other in pairwise(coarse))
    groups = grouped(slices, min(at_most, len(slices)))
    assert joined(groups) == joined(slices)
    assert len(groups) == min(at_most, len(slices))


@given(st.lists(COUNTS, min_size=1, max_size=4), st.integers(-3, 3))
def test_clients_side_by_side_lose_nothing(lines: list[list[int]], shift: int) -> None:
    """Each client's replies are counted once, in one line without overlaps."""
    lines_of = [made(counts, begin_ns=at * shift) for at, counts in enumerate(lines)]
    together = side_by_side(lines_of)
    assert len(together) == min(len(counts) for counts in lines)
    assert sum(one.correct for one in together) == sum(map(sum, lines))
    assert sum(one.response_times.count for one in together) == sum(map(sum, lines))
    assert all(one.end_ns == other.begin_ns for one, other in pairwise(together))
    assert side_by_side([]) == ()


def test_clients_of_one_pace_are_added_slice_by_slice() -> None:
    """Edges that differ by a little are the same slice."""
    together = side_by_side([made([1, 2, 3]), made([10, 20, 30], begin_ns=2)])
    assert [one.correct for one in together] == [11, 22, 33]
