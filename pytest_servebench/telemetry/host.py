"""CPU and memory of a server: what is read of one, and the process tree it is read from."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.points import growth, highest, uncovered
from pytest_servebench.telemetry.sampling import Sampled, Sampler

CPU = "server_cpu_cores"
CPU_S = "server_cpu_s"
MEMORY = "server_memory_bytes"
PROCESS_TREE = "process_tree"
CPU_PERIOD_S = 0.2
_SURVEY_PERIOD_S = 1.0
_CPU_SHARE = 0.0015
_SURVEY_SHARE = 0.002


@dataclass(frozen=True, slots=True)
class HostSample:
    """One reading of a process tree; None is what was not read this time."""

    at_ns: int
    cpu_s: float | None = None
    """CPU time of all its processes so far, those that ended included."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    """A server over a window; None with the reason in ``absent``, by `Telemetry` field name."""

    cpu_s: float | None = None
    """CPU seconds of the window."""
    cpu_cores: float | None = None
    """The same per second."""
    memory_bytes: int | None = None
    """Highest seen in the window."""
    memory_kind: str = "pss"
    """``pss`` shares each page among its users; ``rss`` (where PSS cannot be read) counts it for each;
    ``cgroup`` is what the kernel charges to a container, as `docker stats` shows it."""
    scope: str | None = PROCESS_TREE
    """What was read: ``process_tree`` or ``cgroup``; None: nothing."""
    throttled_share: float | None = None
    """In which share of its periods a limit of CPU time held its cgroup back; None: no limit, or not read."""
    absent: Mapping[str, str] = field(default_factory=dict)


def reading_over(
    samples: Sequence[HostSample], begin_ns: int, end_ns: int, *, memory_kind: str = "pss", gone: str = ""
) -> HostReading:
    """Return what ``samples``, in order of time, say about a window.

    Values at the window's edges are interpolated linearly between the samples around them, never
    extrapolated: a window that they do not cover has no figure. ``gone`` is why they end, if they do.
    """
    memory = [(s.at_ns, float(s.memory_bytes)) for s in samples if s.memory_bytes is not None]
    cpu = [(s.at_ns, s.cpu_s) for s in samples if s.cpu_s is not None]
    no_cpu, no_memory = (uncovered(points, begin_ns, end_ns, gone) for points in (cpu, memory))
    cpu_s = None if no_cpu else growth(cpu, begin_ns, end_ns)
    reasons = {CPU: no_cpu, CPU_S: no_cpu, MEMORY: no_memory}
    return HostReading(
        cpu_s=cpu_s,
        cpu_cores=None if cpu_s is None else cpu_s / ((end_ns - begin_ns) / 1e9),
        memory_bytes=None if no_memory else round(highest(memory, begin_ns, end_ns)),
        memory_kind=memory_kind,
        absent={name: reason for name, reason in reasons.items() if reason},
    )


class ProcessTreeProbe(Sampled):
    """Samples the process tree of ``pid`` in two daemon threads, together below 0.4% of a core.

    CPU is read five times a second. The tree is surveyed anew, and its memory read, when sampling
    starts, when a window closes, and between at most once a second: PSS walks the server's page
    tables (20 ms of CPU time per resident GB here), so for a large server a survey comes every few
    seconds, and a peak between two surveys is not seen. RSS would be cheap and wrong: three forked
    torch processes of 0.65 GB together sum up to 1.66 GB.
    A child that ends keeps counting with the CPU time it was last seen with. What left the tree
    (its parent ended) is not in it any more.
    """

    def __init__(self, pid: int, clock: Clock) -> None:
        self._clock = clock
        self._pid = pid
        self._samples: list[HostSample] = []
        self._cpu_s: dict[psutil.Process, float] = {}
        self._alive: tuple[psutil.Process, ...] = ()
        self._memory_kind = "pss"
        self._gone = ""
        self._lock = threading.Lock()
        self._root: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._root = psutil.Process(pid)
        self._samplers = (
            Sampler(self.survey, _SURVEY_PERIOD_S, f"servebench-memory-{pid}", _SURVEY_SHARE),
            Sampler(self.sample_cpu, CPU_PERIOD_S, f"servebench-cpu-{pid}", _CPU_SHARE),
        )

    def window(self, begin_ns: int, end_ns: int) -> HostReading:
        """Return the reading over a window that has just ended; takes a closing sample first."""
        self.survey()
        self.sample_cpu()
        with self._lock:
            samples = tuple(self._samples)
        return reading_over(samples, begin_ns, end_ns, memory_kind=self._memory_kind, gone=self._gone)

    def pids(self) -> frozenset[int]:
        """Return the processes that were last seen."""
        return frozenset(process.pid for process in self._alive)

    def survey(self) -> bool:
        """See who belongs to the tree and read its memory; False when its root is gone."""
        with self._lock:
            if self._root is None or not _lives(self._root):
                return self._note_gone()
            try:
                self._alive = (self._root, *self._root.children(recursive=True))
            except psutil.NoSuchProcess:
                return self._note_gone()
            memory_bytes = sum(map(self._memory_of, self._alive))
            self._samples.append(HostSample(self._clock.now_ns(), memory_bytes=memory_bytes))
            return True

    def sample_cpu(self) -> bool:
        """Read the CPU time of those the last survey found; False when the root is gone."""
        with self._lock:
            if self._root is None or not _lives(self._root):
                return self._note_gone()
            for process in self._alive:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    self._cpu_s[process] = times.user + times.system
            self._samples.append(HostSample(self._clock.now_ns(), cpu_s=sum(self._cpu_s.values())))
            return True

    def _memory_of(self, process: psutil.Process) -> int:
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._memory_kind == "pss":
                try:
                    return int(process.memory_full_info().pss)
                except psutil.AccessDenied:
                    self._memory_kind = "rss"
            return int(process.memory_info().rss)
        return 0

    def _note_gone(self) -> bool:
        self._gone = self._gone or f"the process {self._pid} is gone"
        return False


def _lives(process: psutil.Process) -> bool:
    """Return whether it runs; one that merely waits to be reaped does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
