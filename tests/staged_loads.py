"""Staged loads that nobody sent: samples as a schedule and a rule make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_servebench.arrivals import Stage, Staged
from pytest_servebench.load.arrivals import schedule
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.plan import Load
from pytest_servebench.samples import Outcome, Samples

START_NS = 10**12
PROFILE = Staged(stages=(Stage(10, 50), Stage(20, 50), Stage(10, 200), Stage(20, 200), Stage(10, 0)))
"""Ramp to 50/s, hold, ramp to 200/s, hold, ramp down: 70 s, the holds from 10 to 30 and from 40 to 60."""
FIRST_HOLD, SECOND_HOLD = 1, 3
"""The places of its holds."""

Serving = Callable[[float], float | Outcome]
"""What becomes of a request due at this second: its response time in milliseconds, or how it failed."""


def staged_load(arrivals: Staged = PROFILE, **changes: Any) -> Load:
    """Return a load of these stages without a warm-up, judged by the reference's objective."""
    load = Load(arrivals=arrivals, warmup_s=0.0, duration_s=arrivals.length_s, objective=DEFAULT_OBJECTIVE)
    return replace(load, **changes)


def quick(_due_s: float) -> float:
    """Answer in 5 ms, whenever it is."""
    return 5.0


def served(
    load: Load, serve: Serving = quick, *, until_s: float | None = None, lag_ms: float = 0.0
) -> Samples:
    """Return the samples of ``load`` as ``serve`` has it, ended at ``until_s``; every one sent so late."""
    assert load.arrivals is not None
    offsets_ns = np.concatenate([np.empty(0, dtype=np.int64), *schedule(load.arrivals, load.seed)])
    end_s = load.warmup_s + load.duration_s if until_s is None else until_s
    offsets_ns = offsets_ns[offsets_ns <= end_s * 1e9]
    ends = [serve(offset / 1e9) for offset in offsets_ns.tolist()]
    outcome = np.array([end if isinstance(end, Outcome) else Outcome.OK for end in ends], dtype=np.uint8)
    intended_ns = START_NS + offsets_ns
    sent_ns = np.where(outcome == Outcome.DROPPED, -1, intended_ns + round(lag_ms * 1e6))
    times_ns = np.array([0 if isinstance(end, Outcome) else round(end * 1e6) for end in ends], dtype=np.int64)
    received_ns = np.where(outcome == Outcome.OK, intended_ns + times_ns, -1)
    return Samples(
        intended_ns=intended_ns,
        sent_ns=sent_ns,
        received_ns=received_ns,
        outcome=outcome,
        request_index=np.zeros(len(outcome), dtype=np.int32),
        window_ns=(START_NS + round(load.warmup_s * 1e9), START_NS + round(end_s * 1e9)),
        started_ns=START_NS,
    )


def between(begin_s: float, end_s: float, then: float | Outcome) -> Serving:
    """Answer in 5 ms, but in this time as ``then`` says."""
    return lambda due_s: then if begin_s <= due_s < end_s else quick(due_s)
