"""The shares of a load's workers are the load: nothing is sent twice, nothing is left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.arrivals import Arrivals, Constant, Poisson, Replay, Stage, Staged
from pytest_servebench.errors import LoadError
from pytest_servebench.load.arrivals import Offsets, schedule
from pytest_servebench.load.shares import first_request, names_of, parts_of, rotated, shares_of, workers_for
from pytest_servebench.plan import Load

STAGED = st.builds(
    Staged,
    stages=st.lists(
        st.builds(Stage, st.sampled_from([0.5, 2.0]), st.sampled_from([1.0, 60.0, 900.0])),
        min_size=1,
        max_size=3,
    ).map(tuple),
    random=st.booleans(),
)
RATES = st.floats(0.5, 5000.0)
ARRIVALS = st.one_of(st.builds(Constant, RATES), st.builds(Poisson, RATES), STAGED)


def load_of(count: int, **fields: object) -> Load:
    """Return a load of so many local workers."""
    return replace(Load(workers=("popen",) * count), **fields)  # type: ignore[arg-type]


def first(arrivals: Arrivals | None, seed: int, until_ns: int, most: int = 4000) -> Offsets:
    """Return the offsets of a schedule up to an instant."""
    assert arrivals is not None
    offsets = (int(one) for part in schedule(arrivals, seed) for one in part)
    found = np.fromiter(islice(offsets, most), dtype=np.int64)
    return found[found <= until_ns]


@given(ARRIVALS, st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=60)
def test_the_union_of_all_shares_is_exactly_the_schedule(arrivals: Arrivals, count: int, seed: int) -> None:
    """Worker k takes the arrivals k, k + n, k + 2n ...: each is somebody's, and nobody's twice."""
    whole = first(arrivals, seed, 2**62, most=3000)
    shares = shares_of(load_of(count, arrivals=arrivals, seed=seed))
    until_ns = int(whole[-1]) if len(whole) else 0
    parts = [first(share.arrivals, seed, until_ns) for share in shares]
    for number, part in enumerate(parts):
        assert np.array_equal(part[: len(whole[number::count])], whole[number::count])
    assert np.array_equal(np.sort(np.concatenate(parts))[: len(whole)], whole)


def test_a_trace_is_shared_without_its_file(tmp_path: Path) -> None:
    """Another host has no such file: its arrivals travel, and are the schedule all the same."""
    path = tmp_path / "trace.txt"
    path.write_text("0\n0.1\n0.1\n0.4\n0.5\n", encoding="utf-8")
    load = load_of(2, arrivals=Replay(path=path, length_s=0.5))
    shares = shares_of(load)
    path.unlink()
    parts = [first(share.arrivals, 0, 2**62).tolist() for share in shares]
    assert parts == [[0, 100_000_000, 500_000_000], [100_000_000, 400_000_000]]
    with pytest.raises(LoadError, match="cannot be read any more"):
        shares_of(load)


@given(st.integers(1, 1000), st.integers(1, 40))
def test_requests_in_flight_are_spread_evenly_and_all_of_them(in_flight: int, count: int) -> None:
    """Parts differ by one at most, none is empty, and they add up; there are no more than requests."""
    closed = [share.concurrency for share in shares_of(load_of(count, concurrency=in_flight))]
    opened = shares_of(load_of(count, arrivals=Constant(5), max_in_flight=in_flight))
    for parts in (closed, [share.max_in_flight for share in opened]):
        assert len(parts) == min(count, in_flight)
        assert sum(parts) == in_flight
        assert 1 <= min(parts) <= max(parts) <= min(parts) + 1


def test_a_share_is_otherwise_the_load() -> None:
    """Times, seed and share of verified replies are the load's; a share has no workers of its own."""
    load = load_of(2, concurrency=4, warmup_s=3.0, timeout_s=7.0, verify_share=0.5, seed=9)
    assert shares_of(load) == (replace(load, workers=(), concurrency=2),) * 2
    assert workers_for(load_of(3, concurrency=2)) == 2
    assert parts_of(7, 3) == (3, 2, 2)


@given(st.integers(1, 20), st.integers(1, 20))
def test_each_worker_begins_with_another_request(workers: int, requests: int) -> None:
    """As far as there are so many; and each sends all of them in turn."""
    firsts = [first_request(worker, workers, requests) for worker in range(workers)]
    assert len(set(firsts)) == min(workers, requests)
    for begin in firsts:
        assert sorted(rotated(range(requests), begin)) == list(range(requests))
        assert rotated(range(requests), begin)[0] == begin


def test_names_tell_number_and_place() -> None:
    """Two workers on one host can be told apart."""
    assert names_of(("popen", "popen", "ssh=bench@far")) == ("1:popen", "2:popen", "3:ssh=bench@far")
