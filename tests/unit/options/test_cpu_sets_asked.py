"""--serve-cpu-sets: a number of sets, or which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.options.placement import hardware_of
from tests.asking import NO_GPU, plan

EIGHT = replace(NO_GPU, logical_cores=8, cores=((0, 4), (1, 5), (2, 6), (3, 7)))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("2", ["cores 0-1,4-5", "cores 2-3,6-7"]),
        ("1", ["cores 0-7"]),
        ("0-3/4-7", ["cores 0-3", "cores 4-7"]),
        ("0,4 / 1,5/2,6", ["cores 0,4", "cores 1,5", "cores 2,6"]),
        ("3-3", ["cores 3"]),
    ],
)
def test_sets_are_lanes(text: str, names: list[str]) -> None:
    """As many lanes as sets; the threads are those of one."""
    chosen = plan(EIGHT, stack="all", cpu_sets=text)
    assert [lane.name for lane in chosen.lanes] == names
    assert chosen.threads == len(chosen.lanes[0].cpus or ())


def test_workers_take_them_in_turn() -> None:
    """Worker 5 of 2 sets has the second; limits see the cores that it has."""
    surroundings = replace(EIGHT, turn=5)
    chosen = plan(surroundings, stack="triton", cpu_sets="0-3/4-7")
    assert chosen.lane.cpus == (4, 5, 6, 7)
    hardware = hardware_of(chosen, "triton", surroundings)
    assert hardware is not None
    assert hardware.logical_cores == 4
    assert plan(EIGHT, stack="triton", cpu_sets="2", threads="9").threads == 9


def test_without_sets_the_machine_is_one_lane() -> None:
    """What is not asked for is not done."""
    chosen = plan(EIGHT, stack="triton")
    assert (chosen.lane.is_whole, chosen.threads, len(chosen.lanes)) == (True, 8, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9", "is not a number of sets from 1 to 8: '9'[\\s\\S]*seen: cores that this process may use: 0-7"),
        ("0", "is not a number of sets from 1 to 8: '0'"),
        ("0-3/4-9", "names cores that this process may not use: 8-9[\\s\\S]*next: use some of: 0-7"),
        ("0-3/3-6", "has cores in more than one set: 3"),
        ("0-3/4-5", "has sets of different sizes[\\s\\S]*seen: 0-3: 4 cores, 4-5: 2 cores"),
        ("3-1/4-6", "is neither a number of sets nor sets of cores: '3-1/4-6'"),
        ("0-3/", "is neither a number of sets nor sets of cores"),
        ("all", "is neither a number of sets nor sets of cores: 'all'[\\s\\S]*next: give a number, as in 2"),
    ],
)
def test_what_cannot_be_names_the_option_and_what_can(text: str, message: str) -> None:
    """Nothing is bound to cores that are not there, or to fewer than were asked for."""
    with pytest.raises(PlanError, match=f"--serve-cpu-sets {message}"):
        plan(EIGHT, stack="all", cpu_sets=text)
