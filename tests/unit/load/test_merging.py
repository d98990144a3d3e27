"""What several workers measured is merged exactly: every request once, percentiles those of all."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import execnet
import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.load.clock_offset import ClockOffset, Exchange, offset_from, over_a_load
from pytest_servebench.load.merging import Part, common_window, merged, shifted
from pytest_servebench.load.telling import heard_samples, told_samples
from pytest_servebench.samples import Folded, Outcome, Reply, Samples, Slice, Tally
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.summary import summarise

WINDOW = (1_000_000, 9_000_000)
ENDINGS = (Outcome.OK, Outcome.OK, Outcome.HTTP_ERROR, Outcome.TIMEOUT, Outcome.DROPPED)


@st.composite
def some_samples(draw: st.DrawFn) -> Samples:
    """Return the samples of one worker: any instants and outcomes, some OK replies kept."""
    count = draw(st.integers(0, 40))
    source = np.random.default_rng(draw(st.integers(0, 2**32)))
    outcome = source.choice(np.array(ENDINGS, dtype=np.uint8), count)
    intended = source.integers(0, 10_000_000, count)
    sent = np.where(outcome == Outcome.DROPPED, -1, intended + source.integers(0, 1000, count))
    ended = np.isin(outcome, (Outcome.DROPPED, Outcome.TIMEOUT))
    received = np.where(ended, -1, sent + source.integers(1, 500_000, count))
    order = np.argsort(np.where(sent >= 0, sent, intended), kind="stable")
    columns = (intended[order], sent[order], received[order], outcome[order])
    kept = [int(at) for at in np.flatnonzero(columns[3] == Outcome.OK)[::3]]
    index = source.integers(0, 5, count).astype(np.int32)
    return Samples(
        intended_ns=columns[0],
        sent_ns=columns[1],
        received_ns=columns[2],
        outcome=columns[3],
        request_index=index,
        window_ns=WINDOW,
        replies={at: Reply(200, {}, f"{columns[2][at]}/{index[at]}".encode()) for at in kept},
        client_cpu_s=draw(st.floats(0, 2)),
        first_error=draw(st.sampled_from(["", "refused"])),
    )


PARTS = st.lists(some_samples(), min_size=1, max_size=5).map(
    lambda all_samples: [Part(worker=f"{n}:popen", samples=one) for n, one in enumerate(all_samples)]
)


def rows(*all_samples: Samples) -> npt.NDArray[np.int64]:
    """Return every request as a row, in one order whatever theirs was."""
    names = ("intended_ns", "sent_ns", "received_ns", "outcome", "request_index")
    table = np.concatenate([np.stack([getattr(one, name) for name in names], 1) for one in all_samples])
    in_order: npt.NDArray[np.int64] = table[np.lexsort(table.T)].astype(np.int64)
    return in_order


@given(PARTS)
def test_every_request_is_there_once(parts: list[Part]) -> None:
    """None is lost, doubled or changed, and they stand in order of sending."""
    whole = merged(parts)
    assert np.array_equal(rows(whole), rows(*(part.samples for part in parts)))
    begun = np.where(whole.sent_ns >= 0, whole.sent_ns, whole.intended_ns)
    assert np.all(np.diff(begun) >= 0)


TIMES = st.lists(st.integers(0, 10**9), max_size=8).map(
    lambda times: Histogram.of(np.array(times, dtype=np.int64))
)
TALLIES = st.builds(
    Tally,
    outcomes=st.tuples(*(st.integers(0, 9) for _ in Outcome)),
    response_times=TIMES,
    service_times=TIMES,
    send_lags=TIMES,
)
FOLDED = st.builds(
    Folded,
    outcomes=st.tuples(*(st.integers(0, 9) for _ in Outcome)),
    inside=TALLIES,
    offered=st.integers(0, 99),
    sent=st.integers(0, 99),
    in_flight_at_begin=st.integers(0, 9),
    stages=st.lists(TALLIES, max_size=2).map(tuple),
)


@st.composite
def some_slices(draw: st.DrawFn) -> tuple[Slice, ...]:
    """Return a time line of eight slices, from the start over the window's begin to its end."""
    edges = np.linspace(0, WINDOW[1], 10, dtype=np.int64).tolist()
    return tuple(
        Slice(
            begin_ns=begin,
            end_ns=end,
            offered=9,
            sent=draw(st.integers(0, 9)),
            correct=draw(st.integers(0, 9)),
            response_times=draw(TIMES),
        )
        for begin, end in pairwise(edges)
    )


LONG_PARTS = st.lists(
    st.tuples(some_samples(), some_slices(), st.one_of(st.none(), FOLDED)), min_size=1, max_size=3
).map(
    lambda all_parts: [
        Part(
            worker=f"{n}:popen",
            samples=replace(one, slices=slices, folded=folded, started_ns=0, settled=True),
        )
        for n, (one, slices, folded) in enumerate(all_parts)
    ]
)


@given(LONG_PARTS)
@settings(max_examples=30)
def test_time_lines_and_folded_requests_add_up(parts: list[Part]) -> None:
    """No count and no time is lost: histograms are added bucket by bucket, slices side by side."""
    whole = merged(parts)
    lines = [part.samples.slices for part in parts]
    assert [(one.begin_ns, one.end_ns) for one in whole.slices] == [
        (one.begin_ns, one.end_ns) for one in lines[0]
    ]
    for at, one in enumerate(whole.slices):
        assert one.sent == sum(line[at].sent for line in lines)
        assert one.response_times == Histogram.merged(line[at].response_times for line in lines)
    folded = [part.samples.folded for part in parts if part.samples.folded is not None]
    assert (whole.folded is None) == (not folded)
    if whole.folded is not None:
        assert whole.folded.requests == sum(one.requests for one in folded)
        sent = (whole.window_ns[0] < whole.sent_ns) & (whole.sent_ns <= whole.window_ns[1])
        assert sum(one.sent for one in whole.clients) == np.count_nonzero(sent) + whole.folded.sent
        assert whole.folded.inside.response_times == Histogram.merged(
            one.inside.response_times for one in folded
        )
    assert (whole.started_ns, whole.settled) == (0, True)


@given(LONG_PARTS)
@settings(max_examples=20)
def test_long_samples_travel_unchanged(parts: list[Part]) -> None:
    """Slices, tallies and histograms too, in types that execnet knows."""
    for part in parts:
        back = heard_samples(execnet.loads(execnet.dumps(told_samples(part.samples))))
        assert back.slices == part.samples.slices
        assert back.folded == part.samples.folded
        assert (back.started_ns, back.settled) == (0, True)


@given(PARTS)
def test_a_reply_stays_with_its_request(parts: list[Part]) -> None:
    """Verification compares a reply with the request at its position: all are kept, none moves apart."""
    whole = merged(parts)
    assert len(whole.replies) == sum(len(part.samples.replies) for part in parts)
    for at, reply in whole.replies.items():
        assert reply.body == f"{whole.received_ns[at]}/{whole.request_index[at]}".encode()


@given(PARTS)
def test_figures_are_those_of_all_requests_together(parts: list[Part]) -> None:
    """Percentiles are of the pooled times, never a mean of each worker's; counts and CPU times add up."""
    whole = summarise(merged(parts), items_per_request=1, timeout_s=0.001)
    each = [summarise(part.samples, items_per_request=1, timeout_s=0.001) for part in parts]
    for name in ("correct", "wrong", "errors", "timeouts", "dropped"):
        assert getattr(whole, name) == sum(getattr(one, name) for one in each)
    pooled = np.concatenate([_times_ms(part.samples) for part in parts])
    assert whole.response_time_p95_ms == (float(np.percentile(pooled, 95)) if len(pooled) else None)
    assert whole.client_cpu_shares == {
        part.worker: part.samples.client_cpu_s / whole.window_s for part in parts
    }
    sent = sum(int(((one.sent_ns > WINDOW[0]) & (one.sent_ns <= WINDOW[1])).sum()) for one in _samples(parts))
    assert sum(one.sent for one in merged(parts).clients) == sent


def _samples(parts: list[Part]) -> list[Samples]:
    return [part.samples for part in parts]


def _times_ms(samples: Samples) -> npt.NDArray[np.float64]:
    inside = (samples.received_ns > WINDOW[0]) & (samples.received_ns <= WINDOW[1])
    correct = inside & (samples.outcome == Outcome.OK)
    times_ms: npt.NDArray[np.float64] = (samples.received_ns - samples.intended_ns)[correct] / 1e6
    return times_ms


@given(some_samples(), st.integers(-(10**6), 10**15))
def test_another_clock_moves_instants_and_no_duration(samples: Samples, by_ns: int) -> None:
    """What did not happen still did not; back again is what was, to the nanosecond."""
    there = shifted(samples, 10**7)
    assert np.array_equal(there.received_ns >= 0, samples.received_ns >= 0)
    both = (samples.received_ns >= 0) & (samples.sent_ns >= 0)
    durations = (there.received_ns - there.sent_ns, samples.received_ns - samples.sent_ns)
    assert np.array_equal(durations[0][both], durations[1][both])
    assert np.array_equal(rows(shifted(there, -(10**7))), rows(samples))
    assert shifted(samples, by_ns).window_ns == (WINDOW[0] + by_ns, WINDOW[1] + by_ns)


@given(some_samples())
def test_samples_travel_unchanged(samples: Samples) -> None:
    """What a worker tells is what the controller hears, in types that execnet knows."""
    heard = heard_samples(execnet.loads(execnet.dumps(told_samples(samples))))
    assert np.array_equal(rows(heard), rows(samples))
    assert (heard.window_ns, heard.replies) == (samples.window_ns, dict(samples.replies))
    assert (heard.client_cpu_s, heard.first_error) == (samples.client_cpu_s, samples.first_error)
    assert heard.outcome.dtype == np.uint8


def test_the_window_is_what_all_have_measured() -> None:
    """A tick earlier or later is cut off; loads cut short in different stages have all of their time."""
    assert common_window([(10, 20), (11, 21), (9, 22)]) == (11, 20)
    assert common_window([(10, 11), (12, 20)]) == (10, 20)


def test_the_first_failure_names_its_worker() -> None:
    """With several hosts one wants to know whose error it was."""
    none = np.empty(0, np.int64)
    whole = [
        Samples(
            intended_ns=none,
            sent_ns=none,
            received_ns=none,
            outcome=np.empty(0, np.uint8),
            request_index=np.empty(0, np.int32),
            window_ns=WINDOW,
            first_error=text,
        )
        for text in ("", "refused")
    ]
    parts = [Part(worker=f"{number}:popen", samples=one) for number, one in enumerate(whole, start=1)]
    assert merged(parts).first_error == "worker 2:popen: refused"


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1),
)
def test_the_true_offset_lies_within_the_uncertainty(offset_ns: int, ways: list[tuple[int, int]]) -> None:
    """However lopsided the ways there and back are: that is what the uncertainty is for."""
    asked = [number * 10**7 for number in range(len(ways))]
    exchanges = [
        Exchange(at, at + there + offset_ns, at + there + back)
        for at, (there, back) in zip(asked, ways, strict=True)
    ]
    found = offset_from(exchanges)
    assert abs(found.offset_ns - offset_ns) <= found.uncertainty_ns
    assert found.uncertainty_ns <= min(there + back for there, back in ways) // 2 + 1


def test_a_drift_is_part_of_the_uncertainty() -> None:
    """All instants are moved by the offset that named the start, so windows stay the same instants."""
    assert over_a_load(ClockOffset(100, 5), ClockOffset(140, 7)) == ClockOffset(100, 47)
    assert over_a_load(ClockOffset(100, 50), ClockOffset(101, 7)) == ClockOffset(100, 50)
