"""Winners and trade-offs: who may race, who wins, and what is not said of chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.reports.findings import Findings, Winner, findings_of
from pytest_servebench.reports.findings.headline import answer
from pytest_servebench.reports.page.opening import winner_words
from pytest_servebench.reports.summary.winner import winner_sentence
from tests.found_records import found_record, found_replicates

DOUBTS = ("unstable", "client_limited", "errors", "wrong_output", "undecided")


def winner(records: list[dict[str, Any]], figure: str) -> Winner | None:
    """Return the winner in a figure."""
    return next((one for one in findings_of(records).winners if one.figure == figure), None)


def test_a_winner_stands_with_its_runner_up() -> None:
    """Without repeats it is the best in its figures, by how much, and never certain."""
    records = [found_record(100, p95_ms=9), found_record(80, stack="fastapi", p95_ms=8)]
    throughput, p95 = winner(records, "highest throughput"), winner(records, "lowest p95")
    assert throughput is not None
    assert p95 is not None
    assert (throughput.case, throughput.runner_up, throughput.margin) == ("triton onnx", "fastapi onnx", 0.25)
    assert (p95.case, p95.value, p95.unit) == ("fastapi onnx", 8, "ms")
    assert not throughput.certain
    assert throughput.tied == ()
    assert throughput.asked.startswith("test_throughput: resnet50, tensor over http, max batch 8, ")


def test_repeats_apart_make_a_winner_certain_and_others_a_tie() -> None:
    """Where intervals share a value, whoever has the better median is tied with the other."""
    clear = [*found_replicates(100), *found_replicates(80, stack="fastapi")]
    close = [*found_replicates(100), *found_replicates(99.8, stack="fastapi")]
    certain, tied = winner(clear, "highest throughput"), winner(close, "highest throughput")
    assert certain is not None
    assert tied is not None
    assert (certain.certain, certain.tied) == (True, ())
    assert (tied.certain, tied.tied) == (False, ("fastapi onnx",))


def test_equal_figures_are_a_tie_without_repeats() -> None:
    """What a reader sees as one figure has no winner."""
    found = winner([found_record(100.01), found_record(100.02, stack="fastapi")], "highest throughput")
    assert found is not None
    assert (found.case, found.tied) == ("fastapi onnx", ("triton onnx",))
    assert found.is_level
    words = winner_words(found)
    assert (words.case, words.why) == ("fastapi onnx and triton onnx", "no winner: they are level")
    assert answer([found], []) == "No winner: the best cases have the same figures."
    told = winner_sentence(Findings(winners=(found,)), [])
    assert told.startswith("No winner: the best cases have the same figures")
    assert "better" not in told


def test_of_repeats_that_overlap_one_is_ahead_and_not_level() -> None:
    """Their medians differ; that it may be chance is said beside them, as an overlap."""
    close = [*found_replicates(100), *found_replicates(99.8, stack="fastapi")]
    tied = winner(close, "highest throughput")
    assert tied is not None
    assert not tied.is_level


def test_a_level_figure_does_not_hide_another_that_was_won() -> None:
    """The first sentence names who is ahead where somebody is."""
    found = winner([found_record(100), found_record(80, stack="fastapi")], "highest throughput")
    assert found is not None
    level = replace(found, figure="lowest p95", tied=("fastapi onnx",))
    assert answer([level, found], []) == answer([found], [])
    assert "p95" not in answer([level, found], [])


def test_nobody_wins_alone() -> None:
    """One case, or one beside others that were asked otherwise, is the best of nothing."""
    assert findings_of([found_record()]).winners == ()
    assert findings_of([found_record(), found_record(stack="fastapi", in_flight=2)]).winners == ()
    assert findings_of([]).winners == ()


@pytest.mark.parametrize("validity", DOUBTS)
def test_what_may_not_be_believed_never_wins(validity: str) -> None:
    """However fast it was: neither a race, nor the best of all, nor a trade-off."""
    fast = found_record(10_000, p95_ms=0.1, validity=validity, reason="made up")
    others = [found_record(100, stack="fastapi"), found_record(90, stack="torchserve")]
    found = findings_of([fast, *others])
    assert found.winners
    assert all(one.case != "triton onnx" and one.runner_up != "triton onnx" for one in found.winners)
    assert not any("triton" in sentence for sentence in (*found.overall, *found.trade_offs))


def test_a_missing_repeat_wins_nothing() -> None:
    """Four of five that are valid are not five."""
    records = [*found_replicates(200)[:4], *found_replicates(80, stack="fastapi")]
    assert findings_of(records).winners == ()


@given(st.lists(st.one_of(st.none(), st.floats(1, 1e5)), min_size=2, max_size=3))
def test_a_figure_that_is_missing_never_wins(speeds: list[float | None]) -> None:
    """A race is among those that have the figure, and its winner has the most of it."""
    stacks = ("triton", "fastapi", "torchserve")
    records = [found_record(speed, stack=stack) for speed, stack in zip(speeds, stacks, strict=False)]
    found, told = winner(records, "highest throughput"), [speed for speed in speeds if speed is not None]
    assert (found is None) == (len(told) < 2)
    assert found is None or found.value == max(told)


def test_gpu_use_and_efficiency_race_only_where_they_were_read() -> None:
    """Nobody is said to use a GPU that was not read."""
    used = [
        found_record(stack=stack, telemetry={"gpu_utilization_percent": use})
        for stack, use in (("triton", 89.0), ("fastapi", 68.0))
    ]
    found = winner(used, "highest GPU use")
    assert found is not None
    assert (found.case, found.value) == ("triton onnx", 89.0)
    assert winner([found_record(), found_record(stack="fastapi")], "highest GPU use") is None


def test_the_best_of_all_is_told_across_loads() -> None:
    """Which stack, format, batch and load serves most, and answers fastest, beside the best of the others."""
    records = [
        found_record(61, batch=8, in_flight=16, p95_ms=300),
        found_record(40, batch=8, in_flight=1, p95_ms=30, benchmark="test_latency"),
        found_record(44, stack="fastapi", batch=8, in_flight=16, p95_ms=400),
        found_record(42, stack="fastapi", batch=8, in_flight=1, p95_ms=25, benchmark="test_latency"),
    ]
    most, fastest = findings_of(records).overall
    assert most == (
        "Most images/s: triton onnx, max batch 8, 16 in flight: 61.0, with a p95 of 300 ms; 1.39 times"
        " fastapi's best (fastapi onnx, max batch 8, 16 in flight: 44.0); one start each, so nothing says"
        " how much of it is chance"
    )
    assert fastest.startswith(
        "Lowest p95: fastapi onnx, max batch 8, 1 in flight: 25.0 ms; triton onnx, max batch 8, 1 in flight"
        " has 1.20 times that (30.0 ms)"
    )


def test_repeats_say_whether_the_best_of_all_is_chance() -> None:
    """Intervals that overlap are named; where they are apart nothing has to be said."""
    clear = findings_of([*found_replicates(100), *found_replicates(80, stack="fastapi")]).overall[0]
    close = findings_of([*found_replicates(100), *found_replicates(99.8, stack="fastapi")]).overall[0]
    assert "chance" not in clear
    assert close.endswith("; their intervals overlap, so it may be chance")


def test_trade_offs_are_told_from_a_tenth_on() -> None:
    """What the fastest costs in p95 and memory, where both sides of it are worth a sentence."""
    records = [found_record(200, p95_ms=20), found_record(100, stack="fastapi", p95_ms=10)]
    (sentence,) = findings_of(records).trade_offs
    assert sentence == (
        "triton onnx serves 2.00 times the images/s of fastapi onnx for 2.00 times its p95 (200 against 100"
        " images/s, 20.0 against 10.0 ms; test_throughput, max batch 8, 16 in flight)"
    )
    close = [found_record(105, p95_ms=20), found_record(100, stack="fastapi", p95_ms=10)]
    assert findings_of(close).trade_offs == ()


def test_more_in_flight_has_its_price() -> None:
    """Of a stack's fastest configuration: what it brought over few in flight, and cost."""
    records = [
        found_record(60, in_flight=16, p95_ms=300),
        found_record(40, in_flight=1, p95_ms=30, benchmark="test_latency"),
    ]
    (sentence,) = findings_of(records).trade_offs
    assert sentence == (
        "triton onnx, max batch 8, 16 in flight serves 1.50 times the images/s of 1 in flight for 10.0 times"
        " its p95 (60.0 against 40.0 images/s, 300 against 30.0 ms)"
    )


def test_repeats_that_overlap_are_no_trade_off() -> None:
    """With repeats a sentence takes intervals that are apart."""
    wild = (1.0, 2.0, 0.5, 1.6, 0.7)
    records = [
        *found_replicates(200, wild, p95_ms=20),
        *found_replicates(100, wild, stack="fastapi", p95_ms=10),
    ]
    assert findings_of(records).trade_offs == ()
