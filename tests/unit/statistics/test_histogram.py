"""A distribution in bounded memory is HdrHistogram's, and says what the times themselves say."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_servebench.statistics.histogram import (
    HIGHEST_NS,
    LOWEST_NS,
    SIGNIFICANT_DIGITS,
    Histogram,
    Recorder,
)

TIMES = st.lists(
    st.one_of(st.integers(0, 5000), st.integers(0, 10**10), st.integers(0, HIGHEST_NS)),
    min_size=1,
    max_size=60,
)


def of(times: list[int]) -> Histogram:
    """Return the histogram of these nanoseconds."""
    return Histogram.of(np.array(times, dtype=np.int64))


def theirs(times: list[int]) -> HdrHistogram:
    """Return what the hdrhistogram package makes of them."""
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
    for time in times:
        assert histogram.record_value(time)
    return histogram


@given(TIMES)
@example([0, 1, 1023, 1024, 2047, 2048, 4095, 4096, HIGHEST_NS])
def test_it_is_hdr_histograms_own(times: list[int]) -> None:
    """Recording the same values there gives the same text, byte for byte."""
    assert of(times).encoded() == theirs(times).encode().decode()


@given(TIMES)
def test_any_tool_reads_it(times: list[int]) -> None:
    """Its text, read by the hdrhistogram package, holds the same counts and percentiles."""
    read, recorded = HdrHistogram.decode(of(times).encoded()), theirs(times)
    assert read.get_total_count() == len(times)
    for rank in (50, 95, 99):
        assert read.get_value_at_percentile(rank) == recorded.get_value_at_percentile(rank)


@given(TIMES)
def test_what_is_decoded_is_what_was_encoded(times: list[int]) -> None:
    """Buckets are the same; extremes and sum, which the text does not hold, are within their buckets."""
    one = of(times)
    back = Histogram.decoded(one.encoded())
    assert np.array_equal(back.buckets, one.buckets)
    assert np.array_equal(back.counts, one.counts)
    assert back.count == one.count
    assert back.sum_ns == pytest.approx(one.sum_ns, rel=1e-3, abs=1)
    assert back.min_ns == pytest.approx(one.min_ns, rel=1e-3)
    assert back.max_ns == pytest.approx(one.max_ns, rel=1e-3)


@given(TIMES, st.floats(0, 100))
def test_percentiles_are_within_a_thousandth_of_the_exact(times: list[int], rank: float) -> None:
    """As `numpy.percentile` has them, at every rank."""
    found = of(times).percentile(rank)
    assert found == pytest.approx(float(np.percentile(times, rank)), rel=1e-3, abs=1e-6)


@given(st.lists(TIMES, max_size=5))
def test_merging_is_recording_into_one(parts: list[list[int]]) -> None:
    """Merged percentiles equal the pooled ones, whichever way it is done."""
    pooled = of([time for part in parts for time in part])
    assert Histogram.merged(of(part) for part in parts) == pooled
    assert sum((of(part) for part in parts), Histogram()) == pooled
    recorder = Recorder()
    for part in parts:
        recorder.record(np.array(part, dtype=np.int64))
    assert recorder.histogram() == pooled


@given(TIMES)
def test_ends_count_and_sum_are_exact(times: list[int]) -> None:
    """What costs nothing to keep is not rounded."""
    one = of(times)
    assert (one.count, one.sum_ns, one.min_ns, one.max_ns) == (len(times), sum(times), min(times), max(times))
    assert one.mean_ns == pytest.approx(np.mean(times))
    assert (one.percentile(0), one.percentile(100)) == (min(times), max(times))


def test_without_a_time_there_is_no_figure() -> None:
    """Missing is None, in the text too."""
    empty = Histogram()
    assert (empty.percentile(50), empty.mean_ns, empty.min_ns) == (None, None, None)
    assert Histogram.decoded(empty.encoded()) == empty


def test_a_time_of_more_than_a_day_lies_in_the_last_bucket() -> None:
    """It is counted, and its own length is known."""
    one = of([5, 3 * HIGHEST_NS])
    assert one.count == 2
    assert one.max_ns == 3 * HIGHEST_NS
    assert Histogram.decoded(one.encoded()).count == 2


def test_how_many_lie_above() -> None:
    """Counted by buckets, so a time does not lie above its own."""
    one = of([10, 20, 20, 30, 5_000_000])
    assert [one.count_above(at) for at in (5, 10, 20.5, 20, 30, 5_000_000)] == [5, 4, 2, 2, 1, 0]


def test_a_histogram_of_another_unit_is_refused() -> None:
    """Counts of other buckets must not be added to ours."""
    text = HdrHistogram(1000, 3_600_000_000, 2).encode().decode()
    with pytest.raises(ValueError, match="another layout"):
        Histogram.decoded(text)


def test_it_travels_to_other_processes() -> None:
    """Workers send theirs."""
    one = of([1, 2, 3])
    assert pickle.loads(pickle.dumps(one)) == one
