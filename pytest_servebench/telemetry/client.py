"""CPU and memory of the client: this process and its load workers."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import psutil

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.points import growth, highest, uncovered
from pytest_servebench.telemetry.sampling import Sampled, Sampler

CPU = "client_cpu_s"
MEMORY = "client_memory_bytes"
_PERIOD_S = 0.2
_SURVEY_PERIOD_S = 1.0
_SHARE = 0.001
_SURVEY_SHARE = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReading:
    """The client over a window; None with the reason in ``absent``, by `Telemetry` field name."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    """Highest sum of resident memory seen; a page that two of its processes share counts twice."""
    absent: dict[str, str] = field(default_factory=dict)


class ClientProbe(Sampled):
    """Samples this process and those it started, but for the child that leads to the server.

    So load workers and k6 are in it, the sampling threads too; the server and its guardian are not.
    Resident memory is read, not PSS: that walks the page tables of the very process that sends.
    """

    def __init__(self, server_pid: int | None, clock: Clock) -> None:
        self._server_pid = server_pid
        self._clock = clock
        self._self = psutil.Process(os.getpid())
        self._others: tuple[psutil.Process, ...] = ()
        self._cpu_s: dict[psutil.Process, float] = {}
        self._cpu: list[tuple[int, float]] = []
        self._memory: list[tuple[int, float]] = []
        self._lock = threading.Lock()
        self._samplers = (
            Sampler(self.survey, _SURVEY_PERIOD_S, "servebench-client-survey", _SURVEY_SHARE),
            Sampler(self.sample, _PERIOD_S, "servebench-client", _SHARE),
        )

    def window(self, begin_ns: int, end_ns: int) -> ClientReading:
        """Return the reading over a window that has just ended; takes a closing sample first."""
        self.sample()
        with self._lock:
            reason = uncovered(self._cpu, begin_ns, end_ns)
            if reason:
                return ClientReading(absent={CPU: reason, MEMORY: reason})
            return ClientReading(
                cpu_s=growth(self._cpu, begin_ns, end_ns),
                memory_bytes=round(highest(self._memory, begin_ns, end_ns)),
            )

    def survey(self) -> bool:
        """See who belongs to the client."""
        found: dict[int, psutil.Process] = {}
        parents: dict[int, int] = {}
        for process in self._self.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                parents[process.pid] = process.ppid()
                found[process.pid] = process
        own = apart_from(self._server_pid, parents, self._self.pid)
        with self._lock:
            self._others = tuple(found[pid] for pid in own)
        return True

    def sample(self) -> bool:
        """Read CPU time and memory of those the last survey found; one that ended keeps counting."""
        with self._lock:
            memory_bytes = 0
            for process in (self._self, *self._others):
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    self._cpu_s[process] = times.user + times.system
                    memory_bytes += process.memory_info().rss
            now_ns = self._clock.now_ns()
            self._cpu.append((now_ns, sum(self._cpu_s.values())))
            self._memory.append((now_ns, memory_bytes))
            return True


def apart_from(server: int | None, parents: Mapping[int, int], root: int) -> tuple[int, ...]:
    """Return the descendants of ``root``, but for those under the same child of it as ``server``.

    ``parents`` has the parent of each descendant.
    """

    def branch(pid: int) -> int:
        """Return the child of ``root`` that leads to a descendant."""
        seen = {pid}
        while parents[pid] != root and parents[pid] in parents and parents[pid] not in seen:
            pid = parents[pid]
            seen.add(pid)
        return pid

    left_out = branch(server) if server is not None and server in parents else None
    return tuple(pid for pid in parents if branch(pid) != left_out)
