"""Lanes: who gets what, and who excludes whom."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.leasing.lanes import (
    MACHINE,
    Gpu,
    Hold,
    Lane,
    Machine,
    in_equal_sets,
    lane_of,
    lanes_of,
    set_text,
    to_measure,
    to_start,
)

GPUS = (Gpu(0, "GPU-a"), Gpu(1, "GPU-b"))
HERE = Machine(cores=8, gpus=GPUS)
WHOLE = Lane()
FIRST, SECOND = lanes_of([(gpu,) for gpu in GPUS], ())
(BOTH,) = lanes_of([GPUS], ())
LOW, HIGH = lanes_of((), ((0, 1, 2, 3), (4, 5, 6, 7)))
OVERLAPPING = Lane(name="another session's", cpus=(3, 4))

cores = st.sets(st.integers(0, 7), min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
lanes = st.builds(
    lambda gpus, cpus: Lane(name="any", gpus=gpus, cpus=cpus),
    st.sampled_from([(), *[(gpu,) for gpu in GPUS], GPUS]),
    st.none() | cores,
)


def exclude(one: Sequence[Hold], other: Sequence[Hold]) -> bool:
    """Return whether these cannot be held at the same time."""
    return any(a.resource == b.resource and (a.exclusive or b.exclusive) for a in one for b in other)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (WHOLE, WHOLE, True),
        (WHOLE, FIRST, True),
        (WHOLE, LOW, True),
        (FIRST, FIRST, True),
        (LOW, OVERLAPPING, True),
        (HIGH, OVERLAPPING, True),
        (FIRST, SECOND, False),
        (BOTH, FIRST, True),
        (BOTH, SECOND, True),
        (BOTH, BOTH, True),
        (BOTH, WHOLE, True),
        (BOTH, LOW, False),
        (LOW, HIGH, False),
        (FIRST, LOW, False),
    ],
)
def test_who_is_measured_beside_whom(one: Lane, other: Lane, *, apart: bool) -> None:
    """Two GPUs and two disjoint sets of cores are, the whole machine and GPUs held together beside none."""
    assert exclude(to_measure(one), to_measure(other)) is apart
    assert exclude(to_measure(other), to_measure(one)) is apart


@given(lanes, lanes)
def test_a_start_up_is_where_a_window_may_be_and_nowhere_else(one: Lane, other: Lane) -> None:
    """A start-up is kept from the windows that its own window is kept from, and from no start-up."""
    together = exclude(to_measure(one), to_measure(other))
    assert exclude(to_start(one, HERE), to_measure(other)) is together
    assert not exclude(to_start(one, HERE), to_start(other, HERE))


@given(lanes)
def test_everybody_takes_in_one_order(lane: Lane) -> None:
    """Whoever holds something waits only for what comes after it, so nobody waits in a circle."""
    for holds in (to_start(lane, HERE), to_measure(lane)):
        taken = [hold.resource for hold in holds]
        assert taken == sorted(set(taken))
        assert taken[0] == MACHINE


def test_lanes_are_every_turn_of_gpus_and_cores() -> None:
    """GPUs and sets of cores are taken in turn each; with neither there is one lane, the machine."""
    assert lanes_of((), ()) == (Lane(name="machine"),)
    assert [lane.name for lane in (FIRST, SECOND, BOTH)] == ["cuda:0", "cuda:1", "cuda:0,1"]
    both = lanes_of([(gpu,) for gpu in GPUS], ((0, 1), (2, 3), (4, 5)))
    assert [lane.name for lane in both] == [
        *("cuda:0 cores 0-1", "cuda:1 cores 2-3", "cuda:0 cores 4-5"),
        *("cuda:1 cores 0-1", "cuda:0 cores 2-3", "cuda:1 cores 4-5"),
    ]
    assert (lane_of(both, 7).name, both[1].cpu_set, both[1].is_whole) == ("cuda:1 cores 2-3", "2-3", False)
    assert (WHOLE.cpu_set, WHOLE.is_whole) == ("", True)


def test_a_gpu_without_a_uuid_goes_by_its_index() -> None:
    """Where NVML gives none, the index tells GPUs apart."""
    one, other = (to_measure(lane)[1].resource for lane in lanes_of(((Gpu(0),), (Gpu(1),)), ()))
    assert (one.name, other.name) == ("GPU 0", "GPU 1")
    assert one.place != other.place


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 20))
def test_equal_sets_are_disjoint_equal_and_as_whole_as_can_be(widths: list[int], count: int) -> None:
    """No core twice, as many in each, and no physical core shared where there are enough of them."""
    numbers = iter(range(sum(widths)))
    physical = [tuple(next(numbers) for _ in range(width)) for width in widths]
    sets = in_equal_sets(physical, count)
    if count > sum(widths):
        assert sets == ()
        return
    assert len(sets) == count
    assert len({len(one) for one in sets}) == 1
    assert len({number for one in sets for number in one}) == sum(map(len, sets)) > 0
    if count <= len(physical):
        owners = {number: i for i, siblings in enumerate(physical) for number in siblings}
        assert sum(len({owners[number] for number in one}) for one in sets) == len(
            {owners[number] for one in sets for number in one}
        )


def test_siblings_stay_together() -> None:
    """As Linux numbers them: the second thread of core i is i + 4."""
    physical = [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert in_equal_sets(physical, 2) == ((0, 1, 4, 5), (2, 3, 6, 7))
    assert in_equal_sets(physical, 3) == ((0, 4), (1, 5), (2, 6))
    assert in_equal_sets(physical, 8) == tuple((number,) for number in (0, 4, 1, 5, 2, 6, 3, 7))


@given(st.sets(st.integers(0, 40)))
def test_the_text_of_a_set_is_the_kernels(numbers: set[int]) -> None:
    """Every core is in it once, runs are joined."""
    text = set_text(sorted(numbers))
    read = [part.split("-") for part in text.split(",") if part]
    assert [n for first, *last in read for n in range(int(first), int((last or [first])[0]) + 1)] == sorted(
        numbers
    )
    assert all(int(a[-1]) + 1 < int(b[0]) for a, b in pairwise(read))
