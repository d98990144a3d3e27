"""The response times that are kept with a record: which they are, and how many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.samples import Folded, Outcome
from pytest_servebench.statistics.kept_times import SAMPLE_CAP, SELECTION_FOLDED, response_times_s, thin
from tests.made_up import (
    made_up_result,
    made_up_samples,
    tally_of,
)
from tests.unit.test_record import make_of, record_of


def test_only_correct_samples_inside_the_window_are_response_times() -> None:
    """Warm-up, late and failed requests are no response times; the window has its end and not its begin."""
    samples = made_up_samples([1.0, 2.0, 3.0, 4.0, 5.0], spread_s=5.0)
    begin_ns, end_ns = samples.window_ns
    samples.received_ns[0] = begin_ns
    samples.outcome[1] = Outcome.HTTP_ERROR
    samples.intended_ns[3], samples.received_ns[3] = end_ns - 7_000_000, end_ns
    samples.received_ns[4] = end_ns + 1
    assert response_times_s(made_up_result(samples=samples)).tolist() == [0.003, 0.007]


@given(st.lists(st.floats(0.0001, 100), min_size=200, max_size=600), st.integers(50, 150))
def test_thinning_keeps_percentiles(values: list[float], cap: int) -> None:
    """A percentile of the kept samples lies within one rank step of the same percentile of all."""
    times = np.asarray(values)
    kept = thin(times, cap)
    assert (len(kept), kept.min(), kept.max()) == (cap, times.min(), times.max())
    step = 100 / (cap - 1)
    for q in (50, 95, 99):
        low, high = np.percentile(times, [max(0.0, q - step), min(100.0, q + step)])
        assert low <= np.percentile(kept, q) <= high


def test_thinning_keeps_the_order_of_sending() -> None:
    """Kept samples stay in their order, so that a drift in time can still be seen."""
    times = np.random.default_rng(1).permutation(1000).astype(float)
    kept = thin(times, 100).tolist()
    places = [times.tolist().index(value) for value in kept]
    assert places == sorted(places)


def test_few_samples_are_all_kept() -> None:
    """At or below the cap nothing is thinned, and the record says so."""
    times = np.arange(10.0)
    assert thin(times, 10) is times
    assert record_of()["samples"] == {"count": 4, "kept": 4, "selection": "every response time"}


def test_capped_samples_are_said_to_be_capped() -> None:
    """Above the cap the record says how many there were and how they were chosen."""
    times = np.ones(SAMPLE_CAP + 1).tolist()
    samples = record_of(times_ms=times)["samples"]
    assert (samples["count"], samples["kept"]) == (SAMPLE_CAP + 1, SAMPLE_CAP)
    assert samples["selection"].startswith("values at evenly spaced ranks")


def test_a_folded_run_keeps_its_ranks() -> None:
    """Of a load whose rows are gone the saved times come from the histogram; their number is that of all."""
    times_ns = np.random.default_rng(0).lognormal(15, 0.5, 50_000).astype(np.int64)
    folded = Folded(inside=tally_of(times_ns * 0, times_ns * 0, times_ns, (times_ns * 0).astype(np.uint8)))
    result = made_up_result(samples=replace(made_up_samples([5.0, 6.0]), folded=folded))
    times_s = response_times_s(result)
    assert len(times_s) == SAMPLE_CAP
    assert np.percentile(times_s, 95) == pytest.approx(np.percentile(times_ns, 95) / 1e9, rel=2e-3)
    assert make_of(result)["samples"] == {
        "count": 50_002,
        "kept": SAMPLE_CAP,
        "selection": SELECTION_FOLDED,
    }
