"""A load as k6 has it: one scenario of one executor, or why there is none (pure).

Grafana k6's executors: ``constant-vus`` keeps virtual users busy, one request in flight each;
``constant-arrival-rate`` and ``ramping-arrival-rate`` begin iterations on an even schedule, each
taken by a free virtual user or, when none is free, counted in ``dropped_iterations``.
"""

from __future__ import annotations

from math import floor
from typing import Any

from pytest_servebench.arrivals import Constant, Poisson, Replay, Stage, Staged
from pytest_servebench.load.arrivals import expected_count
from pytest_servebench.plan import Load, WireProtocol

GRACE_S = 1.0
"""Beyond a request's time-out, so that every request ends by itself and k6 interrupts none."""
SHORTEST_S = 1.0
"""k6 refuses shorter scenarios: what it then sends after the window counts for nothing."""
RATE_UNIT_S = 1000
"""k6 takes whole numbers of arrivals per unit: so long a unit tells rates to 0.001 a second."""


def why_not(load: Load, protocol: WireProtocol) -> str:
    """Return why k6 cannot make this load, in words; empty when it can."""
    arrivals = load.arrivals
    if protocol is not WireProtocol.HTTP:
        return (
            f"k6 sends over HTTP here, not over {protocol}: its own module wants messages as JSON, "
            "and would not send what the stack encodes"
        )
    if isinstance(arrivals, (Poisson, Replay)) or (isinstance(arrivals, Staged) and arrivals.random):
        return f"k6 has no executor for {arrivals}: its arrivals are evenly spaced"
    if load.workers:
        return "k6 takes no workers: one k6 uses every core that it is given"
    return _never_ends_early(load)


def _never_ends_early(load: Load) -> str:
    if load.steady:
        return "k6 does not end its warm-up when it is steady: it runs for a fixed time"
    if load.precision is not None:
        return "k6 does not stop at a precision: it runs for a fixed time"
    if load.abort_after_s is not None:
        return "k6 does not end once a hold has failed (--serve-abort-on-fail): it runs for a fixed time"
    return ""


def virtual_users(load: Load) -> int:
    """Return how many of them k6 has: one for each request that may be in flight.

    All are there from the start: k6 would drop arrivals while it makes another, and a drop
    is to mean that the cap was reached.
    """
    return load.concurrency if load.arrivals is None else load.max_in_flight


def scenario_of(load: Load) -> dict[str, Any]:
    """Return the scenario, warm-up and window in one; for a load of which `why_not` says nothing."""
    length_s = load.warmup_s + load.duration_s
    grace = {"gracefulStop": _time(load.timeout_s + GRACE_S)}
    users = virtual_users(load)
    if load.arrivals is None:
        return {"executor": "constant-vus", "vus": users, "duration": _length(length_s), **grace}
    paced = {"timeUnit": f"{RATE_UNIT_S}s", "preAllocatedVUs": users, "maxVUs": users, **grace}
    if isinstance(load.arrivals, Constant):
        rate = _rate(load.arrivals.per_s)
        return {"executor": "constant-arrival-rate", "rate": rate, "duration": _length(length_s), **paced}
    if not isinstance(load.arrivals, Staged):
        raise TypeError(f"no executor for {load.arrivals}")
    stages = [
        {"duration": _time(stage.duration_s), "target": _rate(stage.per_s)}
        for stage in cut(load.arrivals, length_s).stages
    ]
    return {
        "executor": "ramping-arrival-rate",
        "startRate": _rate(load.arrivals.start_per_s),
        "stages": stages,
        **paced,
    }


def due_between(load: Load, begin_s: float, end_s: float) -> int | None:
    """Return how many arrivals are due after ``begin_s`` until ``end_s``; None in a closed loop."""
    if load.arrivals is None:
        return None
    return floor(_expected(load, end_s)) - floor(_expected(load, begin_s))


def cut(staged: Staged, length_s: float) -> Staged:
    """Return the first ``length_s`` of ``staged``, the last ramp ended where it then is."""
    stages: list[Stage] = []
    begin_s, from_per_s = 0.0, staged.start_per_s
    for stage in staged.stages:
        left_s = length_s - begin_s
        if stage.duration_s > left_s:
            per_s = from_per_s + (stage.per_s - from_per_s) * left_s / stage.duration_s
            return Staged(
                stages=(*stages, Stage(left_s, per_s)),
                start_per_s=staged.start_per_s,
                random=staged.random,
            )
        stages.append(stage)
        begin_s, from_per_s = begin_s + stage.duration_s, stage.per_s
    return staged


def _expected(load: Load, at_s: float) -> float:
    if isinstance(load.arrivals, Constant):
        return load.arrivals.per_s * at_s
    if isinstance(load.arrivals, Staged):
        return expected_count(load.arrivals, at_s)
    raise TypeError(f"no executor for {load.arrivals}")


def _length(seconds: float) -> str:
    return _time(max(seconds, SHORTEST_S))


def _rate(per_s: float) -> int:
    return round(per_s * RATE_UNIT_S)


def _time(seconds: float) -> str:
    return f"{round(seconds * 1e6)}us"
