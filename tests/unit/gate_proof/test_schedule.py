"""Who is measured when, in the proof of the gate."""

from __future__ import annotations

import dataclasses
from collections import Counter

from benchmarks.gate.schedule import BLOCKS, REPEATS, SAME, SLOWED, missing, turns


def test_the_whole_form_is_forty_of_the_same_and_twenty_of_each_slow_down() -> None:
    """10 v 10 replicates: 800 starts of A/A; 800 of A/B, whose three slow-downs share the replicates of A."""
    whole = turns(BLOCKS, REPEATS)
    assert len(whole) == len(set(whole)) == 1600
    groups = Counter(kind for kind, _ in {turn.group for turn in whole})
    assert groups == {SAME: 40, SLOWED: 20}
    assert Counter(turn.sleeps for turn in whole if turn.experiment == SLOWED) == {
        0.0: 200,
        0.05: 200,
        0.1: 200,
        0.2: 200,
    }


def test_sides_take_turns() -> None:
    """A A' A A', never A A A' A': the machine drifts, and must favour no side."""
    sides = [turn.side for turn in turns(1, 3)]
    assert sides == ["A", "A'"] * 6 + ["A", "+5%", "+10%", "+20%"] * 3


def test_only_groups_that_are_not_whole_are_measured_again() -> None:
    """Half a comparison of one hour and half of another is none whose sides took turns."""
    wanted = turns(1, 2)
    assert missing(wanted, []) == wanted
    assert missing(wanted, wanted) == ()
    torn = [turn for turn in wanted if turn != dataclasses.replace(wanted[4], repeat=2)]
    assert missing(wanted, torn) == wanted[4:8]
