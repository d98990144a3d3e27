"""What the proof compares, and which of the gate's words it counts."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.gate.comparing import comparisons_of, judged, repeats_in
from benchmarks.gate.others import OTHER_GATES, p95_fails, ranks_fail
from benchmarks.gate.replicates import Replicate
from benchmarks.gate.schedule import SAME, SLOWED, turns
from pytest_servebench.comparison.changes import ChangeVerdict
from tests.replicated import replicate, replicates_of_turns

AB = [turn for turn in turns(1, 5) if turn.experiment == SLOWED]


def test_slow_downs_of_a_block_share_its_replicates_of_a() -> None:
    """One A/B block is three comparisons with the same before; two A/A are two."""
    found = comparisons_of(replicates_of_turns(turns(1, 5)), 5)
    assert [(each.kind, each.number) for each in found] == [
        (SAME, 1),
        (SAME, 2),
        ("+5%", 1),
        ("+10%", 1),
        ("+20%", 1),
    ]
    five, ten, twenty = found[2:]
    assert five.before == ten.before == twenty.before
    assert {each.turn.side for each in ten.now} == {"+10%"}
    assert all([one.turn.repeat for one in side] == [1, 2, 3, 4, 5] for side in (ten.before, ten.now))


def test_a_comparison_that_is_not_whole_is_left_out() -> None:
    """Four replicates of five, or a side that was not reached, is no 5 v 5 comparison."""
    whole = replicates_of_turns(turns(1, 5))
    assert [each.kind for each in comparisons_of(whole[:-1], 5)] == [SAME, SAME]
    assert [each.kind for each in comparisons_of(whole[1:], 5)] == [SAME, "+5%", "+10%", "+20%"]
    assert repeats_in(whole) == 5


@pytest.mark.parametrize(
    ("slower", "verdict"),
    [
        (0.0, ChangeVerdict.PASS),
        (0.2, ChangeVerdict.REGRESSION),
        (-0.2, ChangeVerdict.IMPROVEMENT),
    ],
)
def test_the_gate_says_what_was_done_to_the_server(slower: float, verdict: ChangeVerdict) -> None:
    """Slower, faster and equal servers, five replicates each with a jitter of 1%."""
    sides = {"A": 0.0, "+5%": slower, "+10%": slower, "+20%": slower}
    jitters = dict(enumerate((0.01, -0.01, 0.0, 0.005, -0.005), 1))
    found = [
        judged(each)
        for each in comparisons_of([replicate(t, sides[t.side], jitters[t.repeat]) for t in AB], 5)
    ]
    assert [each.verdict for each in found] == [verdict] * 3
    assert {each.found("p95") for each in found} == {verdict is ChangeVerdict.REGRESSION}


def test_a_run_that_is_not_valid_is_counted_as_inconclusive() -> None:
    """Nothing is left out in silence: the doubt is that of the gate."""
    broken = [
        dataclasses.replace(each, record={**each.record, "validity": "unstable"})
        if (each.turn.side, each.turn.repeat) == ("+20%", 3)
        else each
        for each in replicates_of_turns(AB)
    ]
    last = judged(comparisons_of(broken, 5)[-1])
    assert (last.verdict, last.doubts) == (ChangeVerdict.INCONCLUSIVE, ("invalid",))


def test_other_gates_look_at_the_runs_that_their_names_say() -> None:
    """One run is the first of each side; pooled are the requests of all five."""
    first_slow = [replicate(turn, 0.3 * (turn.side == "+10%" and turn.repeat == 1)) for turn in AB]
    one = next(each for each in comparisons_of(first_slow, 5) if each.kind == "+10%")
    found = {gate.name: gate.finds(one) for gate in OTHER_GATES}
    assert {name: finds for name, finds in found.items() if "1 run" in name} == dict.fromkeys(
        (name for name in found if "1 run" in name), True
    )
    assert not found["`--benchmark-compare-fail=mean:10%`, all runs pooled"]


def test_flat_limits_begin_above_ten_per_cent() -> None:
    """p95 twice: at 1.09 nothing is said, at 1.11 it fails; ranks tell any shift of many requests."""
    times = replicate(AB[0]).times_s
    assert not p95_fails(times, [1.09 * time for time in times])
    assert p95_fails(times, [1.11 * time for time in times])
    assert ranks_fail(times, [1.06 * time for time in times])
    assert not ranks_fail(times, times)


def test_a_run_without_replies_fails_no_other_gate() -> None:
    """A mean of nothing is NaN, which stock rules let pass: so nothing is asked of them."""
    turn = AB[0]
    empty = Replicate(turn=turn, record={}, times_s=(), when="")
    one = comparisons_of(replicates_of_turns(AB), 5)[0]
    assert [gate.finds(dataclasses.replace(one, now=(empty,) * 5)) for gate in OTHER_GATES] == [False] * 6
