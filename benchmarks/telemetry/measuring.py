"""A real server under load, with and without its machine being read, turn by turn in one run."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil

from pytest_servebench.asking import question_of
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.plan import CPU, Case, Deployment, Device, Load, ModelFormat, Plan, WireRequest
from pytest_servebench.results import Endpoint, Progress, Telemetry
from pytest_servebench.rooms import Rooms
from pytest_servebench.runner import bring_up
from pytest_servebench.session import BenchSession
from pytest_servebench.stacks import built_in_stacks
from pytest_servebench.statistics.summary import summarise
from pytest_servebench.telemetry.beside import machine_beside

PREFIX = "servebench-"
"""How the names of all sampling threads begin."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Bench:
    """A server that is up, and what it is asked."""

    stack: str
    endpoint: Endpoint
    requests: Sequence[WireRequest]
    case: Case
    rooms: Rooms

    @property
    def processes(self) -> int:
        """How many processes the server has."""
        assert self.endpoint.pid is not None
        return 1 + len(psutil.Process(self.endpoint.pid).children(recursive=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One load: how fast it was, and what the samplers used meanwhile."""

    images_per_s: float
    run_s: float
    cpu_s: Mapping[str, float]
    """By sampling thread; empty where nothing was sampled."""
    telemetry: Telemetry | None = None


class _Nobody:
    def progress(self, progress: Progress) -> None:
        """Look away."""

    def server_gone(self) -> str | None:
        """Know nothing."""


@contextmanager
def served(stack: str, model: str, cache: Path, load: Load) -> Iterator[Bench]:
    """Give a stack's real server with a model in it; raises what its launch raises."""
    stacks = {each.name: each for each in built_in_stacks()}
    plan = Plan(stacks=(stack,), model=model, cache_dir=cache)
    deployment = Deployment(stack=stack, model=model, format=ModelFormat.ONNX, max_batch_size=1)
    case = Case(deployment=deployment, load=load)
    with tempfile.TemporaryDirectory(prefix="servebench-telemetry-") as name:
        session = BenchSession(plan, stacks, lambda: Path(name))
        session.deployments.append(deployment)
        try:
            rooms = session.rooms
            endpoint = bring_up(case, rooms, session.pool)
            question, _ = question_of(case, rooms)
            yield Bench(stack=stack, endpoint=endpoint, requests=question.requests, case=case, rooms=rooms)
        finally:
            session.close()


def turns(bench: Bench, rounds: int, *, gpu: bool) -> Iterator[tuple[Turn, Turn]]:
    """Yield pairs of turns, sampled and not, next to each other; which comes first changes every round."""
    for number in range(rounds):
        order = (True, False) if number % 2 else (False, True)
        done = {sampled: _turn(bench, sampled=sampled, gpu=gpu) for sampled in order}
        yield done[True], done[False]


def _turn(bench: Bench, *, sampled: bool, gpu: bool) -> Turn:
    clock = MonotonicClock()
    device = Device("cuda", 0) if gpu else CPU
    beside = machine_beside(bench.endpoint, device, clock) if sampled else nullcontext()
    with beside as reading:
        before, begin_ns = _threads_s(), clock.now_ns()
        samples = bench.rooms.driver.run(bench.endpoint, bench.requests, bench.case.load, _Nobody())
        after, end_ns = _threads_s(), clock.now_ns()
        telemetry = None if reading is None else reading(samples.window_ns)
    summary = summarise(samples, items_per_request=1, timeout_s=bench.case.load.timeout_s)
    return Turn(
        images_per_s=summary.images_per_s or 0.0,
        run_s=(end_ns - begin_ns) / 1e9,
        cpu_s={name: after[name] - before.get(name, 0.0) for name in after},
        telemetry=telemetry,
    )


def _threads_s() -> dict[str, float]:
    """Return the CPU seconds of every sampling thread so far, as the kernel's scheduler counts them."""
    found = {}
    for thread in threading.enumerate():
        if thread.name.startswith(PREFIX) and thread.native_id is not None:
            text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text(encoding="ascii")
            found[_word(thread.name)] = int(text.split()[0]) / 1e9
    return found


def _word(name: str) -> str:
    """Return what a thread samples: its name without the numbers of processes and devices."""
    return "-".join(part for part in name.removeprefix(PREFIX).split("-") if not part.isdecimal())


def shares_of(pairs: Sequence[tuple[Turn, Turn]]) -> dict[str, float]:
    """Return the share of one core that each sampling thread used, median of the turns."""
    names = dict.fromkeys(name for sampled, _ in pairs for name in sampled.cpu_s)
    return {
        name: statistics.median(sampled.cpu_s.get(name, 0.0) / sampled.run_s for sampled, _ in pairs)
        for name in names
    }


def total_of(pairs: Sequence[tuple[Turn, Turn]]) -> float:
    """Return the share of one core that all of them used together, median of the turns."""
    return statistics.median(sum(sampled.cpu_s.values()) / sampled.run_s for sampled, _ in pairs)


def ratios_of(pairs: Sequence[tuple[Turn, Turn]]) -> list[float]:
    """Return the throughput with sampling by that without, pair by pair."""
    return [sampled.images_per_s / alone.images_per_s for sampled, alone in pairs if alone.images_per_s]


def prepare_stand_in(folder: Path) -> str:
    """Have this process see a stand-in GPU; return why that cannot be, else an empty text.

    It is the one of the tests, compiled here: the real nvidia-ml-py finds it already loaded by its name.
    """
    import ctypes

    try:
        from tests.nvml_stand_in import StandInGpu, build_nvml_stand_in
    except ImportError as error:
        return f"the stand-in GPU lies beside the tests: {error}"
    stand_in = build_nvml_stand_in(folder)
    gpu = StandInGpu(
        energy_mj=1,
        power_mw=1,
        power_limit_mw=1,
        sm_clock_mhz=1,
        memory_clock_mhz=1,
        temperature_c=1,
        throttle=0,
    )
    stand_in.say(gpu)
    os.environ.update(stand_in.environment())
    ctypes.CDLL(str(folder / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)
    return ""
