"""Replicates of the gate's proof with made-up figures, for tests of what is said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.gate.replicates import Replicate
from benchmarks.gate.schedule import Turn, turns
from tests.compared import measured

REPLIES = 120
TRUE_S = 0.010
TAIL = 1.25
"""What the p95 of a made-up run is, as a share of its mean response time."""


def replicate(turn: Turn, slower: float = 0.0, jitter: float = 0.0, **rest: Any) -> Replicate:
    """Return a replicate whose figures are worse by a share than those of a server of 10 ms.

    ``jitter`` is what this run differs by, as a share; ``rest`` are fields of its record.
    """
    mean_s = TRUE_S * (1 + slower) * (1 + jitter)
    times = np.linspace(mean_s * 0.7, mean_s * 1.3, REPLIES)
    p50, p95 = np.percentile(times, (50, 95)) * 1e3
    figures: dict[str, float | None] = {"p50": float(p50), "p95": float(p95), "throughput": 1 / mean_s}
    facts: dict[str, Any] = {
        "weights": "seeded-random:0",
        "model": "tiny",
        "service_time_ms": {"p50": float(p50)},
        "machine": MACHINE,
    }
    record = measured(figures, repeat=turn.repeat, **{**facts, **rest})
    record["load"] |= {"warmup_s": 0.2, "duration_s": 1.4}
    return Replicate(
        turn=turn, record=record, times_s=times.tolist(), when=f"2026-01-02T03:{turn.number:02}:00+00:00"
    )


MACHINE: Mapping[str, Any] = {
    "cpu": "a CPU",
    "cores_usable": 2,
    "kernel": "6.1.7-somewhere",
    "python": "CPython 3.11",
    "packages": {"onnxruntime": "1.20"},
}


def replicates_of_turns(
    wanted: Iterable[Turn] | None = None, *, jitter: float = 0.01, seed: int = 0
) -> list[Replicate]:
    """Return a replicate for each turn, as slow as its server is told to be, give or take its jitter."""
    random = np.random.default_rng(seed)
    return [
        replicate(turn, turn.sleeps, jitter * random.normal())
        for turn in (turns(2, 5) if wanted is None else wanted)
    ]
