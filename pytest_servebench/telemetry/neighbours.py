"""What everybody else on this machine used of the cores that server and client have."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.cgroup import Cgroup, Throttling
from pytest_servebench.telemetry.points import growth, uncovered
from pytest_servebench.telemetry.sampling import Sampled, Sampler

OTHERS = "other_cpu_cores"
_PERIOD_S = 0.2
_SHARE = 0.001
_LEAST_TOLD = 0.5
"""A kernel that tells less than this share of the cores' time does not tell it at all (gVisor, say)."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""In steps of which the kernel counts the time of cores."""
_LEAST_TICKS = 10
"""Each edge of a window may lie a tick beside the counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """The cores over a window; None with the reason in ``absent``, by `Telemetry` field name."""

    busy_s: float | None = None
    """CPU seconds of all programs, and of those that the hypervisor let run instead."""
    throttled_share: float | None = None
    """Share of its periods in which a limit of CPU time held the server back; None: no limit."""
    cores: int = 0
    """How many were looked at."""
    absent: dict[str, str] = field(default_factory=dict)


def others_cores(
    busy_s: float | None, server_s: float | None, client_s: float | None, window_s: float
) -> float | None:
    """Return how many cores everybody else used, never below 0; None where one of the three is not known.

    The kernel counts the machine in ticks, and processes exactly: a difference of some percent is nothing.
    """
    if busy_s is None or server_s is None or client_s is None:
        return None
    return max(0.0, busy_s - server_s - client_s) / window_s


def shared_cores(server_pid: int | None) -> frozenset[int]:
    """Return the cores that this process or the server may use; empty: all there are.

    All too where some are offline: psutil does not say which of the others is which.
    """
    cores = set(os.sched_getaffinity(0))
    if server_pid is not None:
        try:
            cores |= set(psutil.Process(server_pid).cpu_affinity())
        except psutil.Error:
            return frozenset()
    online = os.sysconf("SC_NPROCESSORS_ONLN")
    is_whole = len(cores) >= online or online < os.sysconf("SC_NPROCESSORS_CONF")
    return frozenset() if is_whole else frozenset(cores)


class MachineProbe(Sampled):
    """Samples the machine's CPU time, and the limit of a cgroup, five times a second in a daemon thread."""

    def __init__(self, cores: Collection[int], cgroup: Cgroup | None, clock: Clock) -> None:
        self._cores = frozenset(cores)
        self._cgroup = cgroup
        self._clock = clock
        self._busy: list[tuple[int, float]] = []
        self._told: list[tuple[int, float]] = []
        self._limits: dict[Path, list[tuple[int, Throttling]]] = {}
        self._lock = threading.Lock()
        self._samplers = (Sampler(self.sample, _PERIOD_S, "servebench-machine", _SHARE),)

    def window(self, begin_ns: int, end_ns: int) -> MachineReading:
        """Return the reading over a window that has just ended; takes a closing sample first."""
        self.sample()
        with self._lock:
            cores = len(self._cores) or os.sysconf("SC_NPROCESSORS_ONLN")
            reason = uncovered(self._busy, begin_ns, end_ns) or untold(
                growth(self._told, begin_ns, end_ns), (end_ns - begin_ns) / 1e9, cores
            )
            return MachineReading(
                busy_s=None if reason else growth(self._busy, begin_ns, end_ns),
                throttled_share=_throttled_share(self._limits.values(), begin_ns, end_ns),
                cores=cores,
                absent={OTHERS: reason} if reason else {},
            )

    def sample(self) -> bool:
        """Take one sample now."""
        with self._lock:  # before reading: of two that sample at once, the later has the larger figures
            busy_s, told_s = busy_and_told_s(_times(self._cores))
            throttling = {} if self._cgroup is None else self._cgroup.throttling()
            now_ns = self._clock.now_ns()
            self._busy.append((now_ns, busy_s))
            self._told.append((now_ns, told_s))
            for place, seen in throttling.items():
                self._limits.setdefault(place, []).append((now_ns, seen))
        return True


def busy_and_told_s(times: Sequence[Any]) -> tuple[float, float]:
    """Return the seconds in which cores ran programs, and all that their kernel tells of.

    Interrupts are no program's: the load itself causes most of them. Time stolen by the hypervisor is
    somebody else's. A guest's time is in ``user`` and ``nice`` already.
    """
    busy = sum(each.user + each.nice + each.system + each.steal for each in times)
    return busy, busy + sum(each.idle + each.iowait + each.irq + each.softirq for each in times)


def _times(cores: frozenset[int]) -> Sequence[Any]:
    if not cores:
        return (psutil.cpu_times(),)
    return [times for core, times in enumerate(psutil.cpu_times(percpu=True)) if core in cores]


def untold(told_s: float, window_s: float, cores: int) -> str:
    """Return why a kernel that told so many seconds did not tell how busy the cores were; empty: it did."""
    if window_s < _LEAST_TICKS * _TICK_S:
        return f"the window is too short for counters that move every {1e3 * _TICK_S:g} ms"
    if told_s < _LEAST_TOLD * cores * window_s:
        return "this kernel does not tell how busy the whole machine is"
    return ""


def _throttled_share(
    limits: Iterable[Sequence[tuple[int, Throttling]]], begin_ns: int, end_ns: int
) -> float | None:
    """Return the share of the limit that held back most often within the window; None: none covers it."""
    shares = [_share(seen, begin_ns, end_ns) for seen in limits]
    return max((share for share in shares if share is not None), default=None)


def _share(seen: Sequence[tuple[int, Throttling]], begin_ns: int, end_ns: int) -> float | None:
    periods = [(at_ns, one.periods) for at_ns, one in seen]
    if uncovered(periods, begin_ns, end_ns):
        return None
    passed = growth(periods, begin_ns, end_ns)
    throttled = growth([(at_ns, one.throttled) for at_ns, one in seen], begin_ns, end_ns)
    return throttled / passed if passed > 0 else 0.0
