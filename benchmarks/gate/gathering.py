"""Takes the turns: each starts a server, has it loaded by the house's own runner, and ends it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gate.replicates import Replicate, Replicates
from benchmarks.gate.schedule import Turn
from benchmarks.gate.slowed import SlowedFastapi
from pytest_servebench.clock import MonotonicClock, utc_now_text
from pytest_servebench.models.export import default_cache_dir
from pytest_servebench.plan import Case, Deployment, Load, ModelFormat, Plan
from pytest_servebench.record import make_record, plan_facts
from pytest_servebench.results import Progress
from pytest_servebench.runner import run_case
from pytest_servebench.session import BenchSession
from pytest_servebench.statistics.kept_times import response_times_s
from pytest_servebench.telemetry.machine import machine_facts

STACK, MODEL = "fastapi", "efficientnet_lite0"
TEST = "benchmarks/gate::replicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How long each server is loaded, one request in flight."""

    warmup_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How far the gathering is."""

    done: int
    of: int
    spent_s: float

    @property
    def left_s(self) -> float:
        """Return about how long the rest takes."""
        return self.spent_s / max(self.done, 1) * (self.of - self.done)


class _Nobody:
    """Watches a load that nobody watches."""

    def progress(self, progress: Progress) -> None:
        """See nothing."""

    def server_gone(self) -> str | None:
        """Return None: the runner looks at the server's process itself."""
        return None


def gather(
    todo: Sequence[Turn],
    window: Window,
    store: Replicates,
    told: Callable[[Turn, Pace], None],
) -> None:
    """Measure every turn in order and store it; ``told`` hears of each after it.

    Raises `LaunchError` and its like when a server cannot be had; what is stored stays.
    """
    plan, clock = _plan(window), MonotonicClock()
    began_ns, facts = clock.now_ns(), {"plan": plan_facts(plan), "machine": machine_facts()}
    with _sessions(plan, {turn.sleeps for turn in todo}) as sessions:
        for number, turn in enumerate(todo, 1):
            store.add(_measured(turn, window, sessions[turn.sleeps], facts))
            told(turn, Pace(number, len(todo), (clock.now_ns() - began_ns) / 1e9))


def _plan(window: Window) -> Plan:
    return Plan(
        stacks=(STACK,),
        formats=(ModelFormat.ONNX,),
        batch_sizes=(1,),
        model=MODEL,
        duration_s=window.duration_s,
        warmup_s=window.warmup_s,
        threads=1,
        cache_dir=default_cache_dir(),
    )


def case_of(turn: Turn, window: Window) -> Case:
    """Return what each side is asked: the same, by one connection that waits for each reply."""
    deployment = Deployment(stack=STACK, model=MODEL, format=ModelFormat.ONNX, max_batch_size=1, threads=1)
    load = Load(concurrency=1, warmup_s=window.warmup_s, duration_s=window.duration_s)
    return Case(deployment=deployment, load=load, repeat=turn.repeat)


@contextmanager
def _sessions(plan: Plan, shares: set[float]) -> Iterator[dict[float, BenchSession]]:
    """Yield a session for each share of sleep; only one of them has a server at any time."""
    with ExitStack() as stay:
        folder = Path(stay.enter_context(tempfile.TemporaryDirectory(prefix="gate-")))
        sessions = {}
        for share in sorted(shares):
            stacks = {STACK: SlowedFastapi(sleeps=share)}
            sessions[share] = BenchSession(plan, stacks, partial(Path, folder, f"sleeps-{share:g}"))
            stay.callback(sessions[share].close)
        yield sessions


def _measured(turn: Turn, window: Window, session: BenchSession, facts: dict[str, Any]) -> Replicate:
    case, when = case_of(turn, window), utc_now_text()
    try:
        result = run_case(case, session.rooms, session.pool, _Nobody())
    finally:
        session.pool.close()
    sha256 = session.artifact_sha256(case.deployment)
    record = make_record(result, **facts, artifact_sha256=sha256)
    return Replicate(
        turn=turn,
        record={**record, "test": f"{TEST}[{case.id}]", "benchmark": "replicate", "repeat": turn.repeat},
        times_s=response_times_s(result).tolist(),
        when=when,
    )
