"""Loads become k6's scenarios, or a sentence that says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.arrivals import Arrivals, Constant, Poisson, Replay, Stage, Staged
from pytest_servebench.k6.scenario import cut, due_between, scenario_of, virtual_users, why_not
from pytest_servebench.load.arrivals import expected_count
from pytest_servebench.plan import Load, WireProtocol

HTTP = WireProtocol.HTTP
STAGES = Staged(stages=(Stage(2, 100), Stage(3, 100), Stage(0, 50.5), Stage(1, 0)), start_per_s=20)
rates = st.floats(0.0, 500.0)
staged = st.builds(
    lambda start, stages: Staged(start_per_s=start, stages=tuple(Stage(*stage) for stage in stages)),
    rates,
    st.lists(st.tuples(st.integers(0, 80).map(lambda n: n / 4), rates), min_size=1, max_size=6),
)


def test_a_closed_loop_keeps_virtual_users_busy() -> None:
    """One user for each request in flight; warm-up and window are one scenario, time-outs end in it."""
    load = Load(concurrency=4, warmup_s=0.5, duration_s=2, timeout_s=3)
    assert scenario_of(load) == {
        "executor": "constant-vus",
        "vus": 4,
        "duration": "2500000us",
        "gracefulStop": "4000000us",
    }


def test_a_constant_rate_may_have_decimals() -> None:
    """k6 takes whole numbers: of arrivals per 1,000 s. Every user is there from the start."""
    load = Load(arrivals=Constant(33.5), max_in_flight=64, warmup_s=0, duration_s=2, timeout_s=3)
    assert scenario_of(load) == {
        "executor": "constant-arrival-rate",
        "rate": 33_500,
        "timeUnit": "1000s",
        "duration": "2000000us",
        "preAllocatedVUs": 64,
        "maxVUs": 64,
        "gracefulStop": "4000000us",
    }


def test_stages_keep_their_ramps_and_their_jumps() -> None:
    """A start rate, ramps, holds and a stage of no length are k6's own."""
    scenario = scenario_of(Load(arrivals=STAGES, warmup_s=1, duration_s=5))
    assert (scenario["executor"], scenario["startRate"]) == ("ramping-arrival-rate", 20_000)
    assert [(stage["duration"], stage["target"]) for stage in scenario["stages"]] == [
        ("2000000us", 100_000),
        ("3000000us", 100_000),
        ("0us", 50_500),
        ("1000000us", 0),
    ]


def test_a_load_below_a_second_lasts_one() -> None:
    """k6 refuses shorter scenarios; the window is cut by time anyhow."""
    for arrivals in (None, Constant(10)):
        scenario = scenario_of(Load(arrivals=arrivals, warmup_s=0.1, duration_s=0.2))
        assert scenario["duration"] == "1000000us"


@pytest.mark.parametrize(
    ("load", "protocol", "reason"),
    [
        (
            Load(arrivals=Poisson(50)),
            HTTP,
            "k6 has no executor for poisson:50: its arrivals are evenly spaced",
        ),
        (
            Load(arrivals=replace(STAGES, random=True)),
            HTTP,
            "k6 has no executor for poisson-stages:20:2s:100",
        ),
        (Load(arrivals=Replay(path=Path("t.txt"), length_s=1)), HTTP, "k6 has no executor for replay:t.txt"),
        (Load(), WireProtocol.GRPC, "k6 sends over HTTP here, not over grpc"),
        (Load(workers=("popen",)), HTTP, "k6 takes no workers"),
        (Load(steady=True), HTTP, "k6 does not end its warm-up when it is steady"),
        (Load(precision=0.05), HTTP, "k6 does not stop at a precision"),
        (Load(arrivals=STAGES, abort_after_s=0.0), HTTP, "k6 does not end once a hold has failed"),
    ],
)
def test_what_k6_cannot_do_is_told(load: Load, protocol: WireProtocol, reason: str) -> None:
    """Nothing is sent that is not the load that was asked for."""
    assert why_not(load, protocol).startswith(reason)


@pytest.mark.parametrize("arrivals", [None, Constant(50), STAGES], ids=str)
def test_what_k6_can_do_has_a_scenario(arrivals: Arrivals | None) -> None:
    """Closed loops, constant rates and stages."""
    load = Load(arrivals=arrivals, concurrency=3, max_in_flight=9)
    assert why_not(load, HTTP) == ""
    assert scenario_of(load)
    assert virtual_users(load) == (3 if arrivals is None else 9)


@given(staged, st.floats(0.125, 60.0))
def test_a_cut_schedule_is_the_same_until_then(whole: Staged, length_s: float) -> None:
    """What is cut off is what comes later: until the cut, as many arrivals are due."""
    begun = cut(whole, length_s)
    assert begun.length_s == pytest.approx(min(length_s, whole.length_s), abs=1e-6)
    if any(stage.duration_s for stage in begun.stages):
        at_s = begun.length_s / 2
        assert expected_count(begun, at_s) == pytest.approx(expected_count(whole, at_s), rel=1e-6, abs=1e-6)


def test_arrivals_due_are_those_of_the_schedule() -> None:
    """Counted by the rate's integral; a closed loop has none."""
    assert due_between(Load(), 0, 1) is None
    assert due_between(Load(arrivals=Constant(50)), 0.5, 1.5) == 50
    ramp = Staged(stages=(Stage(2, 100), Stage(1, 100)))
    assert due_between(Load(arrivals=ramp), 0, 2) == 100
    assert due_between(Load(arrivals=ramp), 2, 3) == 100
