"""Where stages lie, and which requests were due in each."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.arrivals import REFERENCE, Stage, Staged
from pytest_servebench.objective import parse_objective
from pytest_servebench.samples import Outcome, Tally
from pytest_servebench.staged.outcomes import StageKind
from pytest_servebench.staged.stages import Due, Ordered, due_in, spans_of, stages_of
from pytest_servebench.statistics.histogram import Histogram
from tests.staged_loads import PROFILE, START_NS, between, served, staged_load

RAMP, HOLD, PAUSE = StageKind.RAMP, StageKind.HOLD, StageKind.PAUSE
STAGED = st.builds(
    Staged,
    stages=st.lists(
        st.builds(Stage, st.sampled_from([0.0, 0.1, 1.0, 2.5]), st.sampled_from([0.0, 3.0, 40.0])),
        min_size=1,
        max_size=6,
    )
    .map(tuple)
    .filter(lambda stages: any(stage.duration_s for stage in stages)),
    start_per_s=st.sampled_from([0.0, 20.0]),
    random=st.booleans(),
)
OUTCOMES = st.sampled_from([5.0, 80.0, Outcome.HTTP_ERROR, Outcome.TIMEOUT, Outcome.DROPPED, Outcome.WRONG])


def test_the_stages_of_the_reference_are_three_ramps_and_two_holds() -> None:
    """A stage whose rate stays where the one before left it holds."""
    spans = spans_of(REFERENCE)
    assert [span.kind for span in spans] == [RAMP, HOLD, RAMP, HOLD, RAMP]
    assert [(span.begin_s, span.end_s) for span in spans] == [
        (0, 120),
        (120, 420),
        (420, 540),
        (540, 840),
        (840, 960),
    ]
    assert [str(span) for span in spans[:2]] == [
        "stage 1 (ramp from 0/s to 100/s)",
        "stage 2 (hold at 100/s)",
    ]


def test_what_has_no_length_or_is_warm_up_is_left_out_and_the_numbers_stay() -> None:
    """A number is the place among the stages as the user wrote them."""
    arrivals = Staged(stages=(Stage(2, 10), Stage(0, 40), Stage(3, 40), Stage(2, 0), Stage(1, 0)))
    spans = spans_of(arrivals, warmup_s=2.5)
    assert [(span.number, span.kind, span.begin_s) for span in spans] == [
        (3, HOLD, 2.5),
        (4, RAMP, 5.0),
        (5, PAUSE, 7.0),
    ]


@given(STAGED, st.sampled_from([0.0, 0.05, 0.9]), st.lists(OUTCOMES, min_size=1, max_size=5))
def test_a_request_is_due_in_one_stage_and_all_stages_together_have_all(
    arrivals: Staged, warmup_share: float, ends: list[float | Outcome]
) -> None:
    """No request is counted twice or lost; only those of the warm-up are in no stage."""
    warmup_s = warmup_share * arrivals.length_s
    load = staged_load(arrivals, warmup_s=warmup_s, duration_s=arrivals.length_s - warmup_s)
    samples = served(load, lambda due_s: ends[int(due_s * 1000) % len(ends)])
    spans = spans_of(arrivals, warmup_s)
    which = stages_of(samples.intended_ns, spans, START_NS)
    offsets_s = (samples.intended_ns - START_NS) / 1e9
    for place, span in enumerate(spans):
        inside = offsets_s[which == place]
        assert np.all((span.begin_s - 1e-9 <= inside) & (inside <= span.end_s + 1e-9))
    assert np.all(offsets_s[which == -1] < warmup_s)
    found = [due_in(samples, which == place) for place in range(len(spans))]
    measured = which >= 0
    assert sum(due.offered for due in found) == int(measured.sum())
    for outcome in Outcome:
        expected = int(np.count_nonzero(samples.outcome[measured] == outcome))
        assert sum(due.outcomes[outcome] for due in found) == expected
    assert sum(due.times.count for due in found) == sum(due.correct for due in found)


def test_the_instant_between_two_stages_is_the_later_ones() -> None:
    """And the last instant of all is the last stage's."""
    edges_s = [0, 10, 30, 40, 60, 70]
    due_ns = START_NS + np.array(edges_s, dtype=np.int64) * 10**9
    assert stages_of(due_ns, spans_of(PROFILE), START_NS).tolist() == [0, 1, 2, 3, 4, 4]
    assert stages_of(due_ns + 1, spans_of(PROFILE), START_NS).tolist() == [0, 1, 2, 3, 4, -1]


TIMES = st.lists(st.integers(0, 10**11), min_size=1, max_size=60)


@given(TIMES, st.integers(0, 20), st.sampled_from([0, 50, 95, 99, 100]))
def test_a_percentile_is_numpys_with_misses_as_infinite_times(
    times_ns: list[int], misses: int, rank: int
) -> None:
    """Whatever has no right answer is slower than anything; a percentile among it is not known."""
    times_ms = np.array(times_ns) / 1e6
    place = rank / 100 * (len(times_ns) + misses - 1)
    seen = Ordered.of(times_ms).percentile_ms(rank, misses)
    if np.ceil(place) >= len(times_ns):
        assert seen is None
    elif not misses:
        assert seen == pytest.approx(float(np.percentile(times_ms, rank)))
    else:
        padded = np.sort([*times_ms, *[inf] * misses])
        assert padded[int(place)] <= seen <= padded[int(np.ceil(place))]


@given(TIMES, TIMES, st.floats(0.001, 2e5))
def test_folded_times_count_as_if_they_were_kept(
    kept_ns: list[int], folded_ns: list[int], limit_ms: float
) -> None:
    """A histogram moves a time by less than 0.1%, and loses none."""
    folded = Histogram.of(np.array(folded_ns, dtype=np.int64))
    whole = Ordered.of(np.array(kept_ns) / 1e6, folded)
    pooled = np.sort([*kept_ns, *folded_ns]) / 1e6
    assert whole.count == len(pooled)
    assert np.searchsorted(pooled, limit_ms * 0.999) <= whole.within(limit_ms)
    assert whole.within(limit_ms) <= np.searchsorted(pooled, limit_ms * 1.001, side="right")
    assert whole.percentile_ms(50) == pytest.approx(float(np.percentile(pooled, 50)), rel=1e-3, abs=1e-6)


def test_limits_are_missed_by_what_is_slower_and_by_what_failed() -> None:
    """``<=`` lets the limit itself pass and ``<`` does not; a failure misses both kinds of limit."""
    due = Due(
        outcomes=tuple({Outcome.OK: 4, Outcome.DROPPED: 2, Outcome.WRONG: 1}.get(one, 0) for one in Outcome),
        times=Ordered.of(np.array([10.0, 50.0, 50.0, 51.0])),
        service_times=Ordered.of(np.array([10.0, 50.0, 50.0, 50.0])),
        send_lags=Ordered.of(np.array([0.0] * 5)),
    )
    at_most, below = parse_objective("p95<=50ms,errors<2%"), parse_objective("p95<50ms")
    assert [due.missed(limit) for limit in at_most.limits] == [4, 3]
    assert [due.missed(limit) for limit in below.limits] == [6]
    assert [due.without_lag.missed(limit) for limit in at_most.limits] == [3, 3]
    assert (due.offered, due.sent, due.correct) == (7, 5, 4)


def test_what_was_folded_is_added_to_its_stage() -> None:
    """Counts are exact, times to half a bucket."""
    load = staged_load()
    samples = served(load, between(15, 20, Outcome.TIMEOUT))
    inside = stages_of(samples.intended_ns, spans_of(PROFILE), START_NS) == 1
    alone = due_in(samples, inside)
    folded = Tally(
        outcomes=alone.outcomes,
        response_times=Histogram.of(np.full(alone.correct, 5_000_000)),
        send_lags=Histogram.of(np.zeros(alone.sent, dtype=np.int64)),
    )
    both = due_in(samples, inside, folded)
    assert both.outcomes == tuple(2 * count for count in alone.outcomes)
    assert both.times.count == 2 * alone.times.count
    assert both.percentile_ms(50) == pytest.approx(5.0, rel=1e-3)
