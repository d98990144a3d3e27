from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.telemetry.host import HostSample, ProcessTreeProbe, reading_over
from pytest_servebench.telemetry.sampling import COST_SHARE, pause_after

SECOND = 10**9
CPU, CPU_S, MEMORY = "server_cpu_cores", "server_cpu_s", "server_memory_bytes"


@st.composite
def covered_windows(draw: st.DrawFn) -> tuple[list[HostSample], int, int]:
    """Return samples with growing CPU time, and a window inside them."""
    steps = draw(
        st.lists(
            st.tuples(st.integers(1, 3 * SECOND), st.floats(0, 4), st.integers(1, 2**40)),
            min_size=2,
            max_size=20,
        )
    )
    samples, at_ns, cpu_s = [], 0, 0.0
    for step_ns, cores, memory_bytes in steps:
        at_ns += step_ns
        cpu_s += cores * step_ns / SECOND
        samples.append(HostSample(at_ns, cpu_s, memory_bytes))
    first, last = samples[0].at_ns, samples[-1].at_ns
    begin_ns = draw(st.integers(first, last - 1))
    return samples, begin_ns, draw(st.integers(begin_ns + 1, last))


@given(covered_windows())
def test_cpu_lies_between_the_slopes(case: tuple[list[HostSample], int, int]) -> None:
    """Cores over a window are never below the idlest and never above the busiest interval."""
    samples, begin_ns, end_ns = case
    slopes = [
        ((b.cpu_s or 0) - (a.cpu_s or 0)) / ((b.at_ns - a.at_ns) / SECOND)
        for a, b in itertools.pairwise(samples)
    ]
    cores = reading_over(samples, begin_ns, end_ns).cpu_cores
    assert cores is not None
    # Differences of accumulated floats over windows of nanoseconds.
    slack = 1e-9 * (samples[-1].cpu_s or 1) * SECOND / (end_ns - begin_ns) + 1e-6
    assert min(slopes) - slack <= cores <= max(slopes) + slack


@given(covered_windows())
def test_memory_lies_between_the_samples(case: tuple[list[HostSample], int, int]) -> None:
    """The highest memory of a window is one that could have been seen, and not below any seen in it."""
    samples, begin_ns, end_ns = case
    seen = [s.memory_bytes for s in samples if s.memory_bytes is not None]
    inside = [s.memory_bytes or 0 for s in samples if begin_ns <= s.at_ns <= end_ns]
    highest = reading_over(samples, begin_ns, end_ns).memory_bytes
    assert highest is not None
    assert min(seen) - 1 <= highest <= max(seen) + 1
    assert highest >= max(inside, default=0) - 1


@given(covered_windows(), st.floats(0.01, 0.99))
def test_cpu_adds_up(case: tuple[list[HostSample], int, int], cut: float) -> None:
    """The CPU time of a window is that of its two parts."""
    samples, begin_ns, end_ns = case
    middle_ns = begin_ns + round((end_ns - begin_ns) * cut)

    def cpu_s(first_ns: int, last_ns: int) -> float:
        if first_ns == last_ns:
            return 0.0
        return (reading_over(samples, first_ns, last_ns).cpu_cores or 0) * (last_ns - first_ns) / SECOND

    whole = cpu_s(begin_ns, end_ns)
    assert cpu_s(begin_ns, middle_ns) + cpu_s(middle_ns, end_ns) == pytest.approx(whole, abs=1e-6)


def test_interpolates_at_the_edges() -> None:
    """A window between samples gets its share of each interval it cuts."""
    samples = [HostSample(0, 0.0, 100), HostSample(SECOND, 1.0, 300), HostSample(2 * SECOND, 3.0, 200)]
    reading = reading_over(samples, SECOND // 2, 3 * SECOND // 2)
    assert reading.cpu_cores == pytest.approx(1.5)
    assert reading.cpu_s == pytest.approx(1.5)
    assert reading.memory_bytes == 300
    assert reading_over(samples, 0, SECOND // 2).memory_bytes == 200


def test_cpu_and_memory_are_sampled_apart() -> None:
    """A sample without memory says nothing about memory, and no zero comes of it."""
    samples = [HostSample(0, memory_bytes=5), HostSample(0, 0.0), HostSample(SECOND, 2.0)]
    reading = reading_over(samples, 0, SECOND)
    assert reading.cpu_cores == 2.0
    assert reading.memory_bytes is None
    assert reading.absent == {MEMORY: "sampling ended 1.00 s before the window did"}


@pytest.mark.parametrize(
    ("samples", "begin_s", "end_s", "gone", "reason"),
    [
        ([], 0, 1, "", "it was never sampled"),
        ([], 0, 1, "the process 7 is gone", "the process 7 is gone"),
        ([0, 1, 2], 1, 3, "the process 7 is gone", "the process 7 is gone"),
        ([0, 1, 2], 1, 3, "", "sampling ended 1.00 s before the window did"),
        ([1, 2], 0, 2, "", "sampling began 1.00 s after the window did"),
        ([0, 1, 2], 1, 1, "", "the window is empty"),
    ],
)
def test_an_uncovered_window_has_no_figure(
    samples: list[int], begin_s: int, end_s: int, gone: str, reason: str
) -> None:
    """A window that the samples do not cover has None and the reason, never 0 and never a guess."""
    taken = [HostSample(s * SECOND, float(s), 7) for s in samples]
    reading = reading_over(taken, begin_s * SECOND, end_s * SECOND, gone=gone)
    assert (reading.cpu_cores, reading.memory_bytes) == (None, None)
    assert reading.absent == dict.fromkeys((CPU, CPU_S, MEMORY), reason)


def test_a_death_after_the_window_does_not_matter() -> None:
    """A process that died after the window still has its figures."""
    reading = reading_over([HostSample(0, 0.0, 7), HostSample(SECOND, 1.0, 7)], 0, SECOND, gone="it is gone")
    assert (reading.cpu_cores, reading.memory_bytes, reading.absent) == (1.0, 7, {})


def test_a_dear_reading_is_taken_rarely() -> None:
    """The pause grows with the price, so that the share of a core stays bounded."""
    assert pause_after(100_000, 0.2) == 0.2
    assert pause_after(8_000_000, 0.2) == pytest.approx(0.008 / COST_SHARE)
    assert pause_after(8_000_000, 0.2, 0.002) == pytest.approx(4)


WORKER = """
import subprocess, sys, time
burn = "import time\\nwhile time.process_time() < 0.25: pass\\nprint(1, flush=True)\\ninput()"
ballast = bytearray(64 << 20)
for i in range(0, len(ballast), 4096): ballast[i] = 1
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", burn],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
for word in sys.stdin:
    if word == "wait\\n": child.stdout.readline()
    if word == "reap\\n": child.communicate("\\n")
    print("done", flush=True)
"""


class Worker:
    """A process with 64 MiB and a child that burns 0.25 s of CPU time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def do(self, word: str) -> None:
        """Have it do something and return when it is done."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def die(self) -> None:
        """Kill it; it stays a zombie."""
        self._process.kill()


@pytest.fixture
def worker() -> Iterator[Worker]:
    """Return a running worker."""
    argv = [sys.executable, "-I", "-S", "-c", WORKER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        made = Worker(process)
        made.do("hello")
        yield made
        process.kill()


def test_counts_a_child_that_ended(worker: Worker) -> None:
    """CPU time of a child stays counted after it ended, and memory is that of the whole tree."""
    clock = MonotonicClock()
    probe = ProcessTreeProbe(worker.pid, clock)
    begin_ns = clock.now_ns()
    probe.survey()
    probe.sample_cpu()
    begin_ns = clock.now_ns()
    worker.do("wait")
    probe.sample_cpu()
    worker.do("reap")
    reading = probe.window(begin_ns, end_ns := clock.now_ns())
    assert reading.cpu_cores is not None
    # The child may have burned some of its 0.25 s before the first sample.
    assert 0 <= reading.cpu_cores * (end_ns - begin_ns) / SECOND <= 0.5
    assert reading.memory_bytes is not None
    assert 64 << 20 < reading.memory_bytes < 128 << 20
    assert reading.absent == {}
    assert sum(s.cpu_s or 0 for s in probe._samples[-1:]) >= 0.25


def test_samples_in_the_background(worker: Worker) -> None:
    """A started probe covers a window without another call, and its threads end with it."""
    clock = MonotonicClock()
    probe = ProcessTreeProbe(worker.pid, clock)
    probe.start()
    begin_ns = clock.now_ns()
    worker.do("wait")
    reading = probe.window(begin_ns, clock.now_ns())
    probe.stop()
    probe.stop()
    assert reading.absent == {}
    assert not any(sampler._thread.is_alive() for sampler in probe._samplers)


@pytest.mark.parametrize("reaped", [False, True])
def test_a_dead_process_has_no_reading(worker: Worker, *, reaped: bool) -> None:
    """A process that died in the window has None and the reason, reaped or not."""
    clock = MonotonicClock()
    probe = ProcessTreeProbe(worker.pid, clock)
    probe.start()
    begin_ns = clock.now_ns()
    worker.die()
    if reaped:
        worker._process.wait()
    else:
        psutil.wait_procs([psutil.Process(worker.pid)], timeout=0.1)
    reading = probe.window(begin_ns, clock.now_ns())
    probe.stop()
    gone = f"the process {worker.pid} is gone"
    assert reading.absent == dict.fromkeys((CPU, CPU_S, MEMORY), gone)
    assert (reading.cpu_cores, reading.memory_bytes) == (None, None)


def test_a_process_that_never_was_has_no_reading() -> None:
    """A wrong process id is absence with a reason, not an exception in a thread."""
    clock = MonotonicClock()
    probe = ProcessTreeProbe(2**22 + 1, clock)
    probe.start()
    reading = probe.window(0, clock.now_ns())
    probe.stop()
    assert reading.absent[CPU] == f"the process {2**22 + 1} is gone"


def test_falls_back_to_rss(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PSS may not be read, RSS is, and the reading says which it is."""

    def denied(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "memory_full_info", denied)
    clock = MonotonicClock()
    probe = ProcessTreeProbe(worker.pid, clock)
    probe.survey()
    probe.sample_cpu()
    begin_ns = clock.now_ns()
    reading = probe.window(begin_ns, begin_ns + 1)
    assert reading.memory_kind == "rss"
    assert (reading.memory_bytes or 0) > 64 << 20
