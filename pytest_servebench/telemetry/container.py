"""CPU and memory of a server by the cgroup of its container."""

from __future__ import annotations

import threading
from dataclasses import replace

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.cgroup import Cgroup
from pytest_servebench.telemetry.host import CPU_PERIOD_S, HostReading, HostSample, reading_over
from pytest_servebench.telemetry.sampling import Sampled, Sampler

CGROUP = "cgroup"
_SHARE = 0.003


class CgroupProbe(Sampled):
    """Samples a cgroup five times a second in a daemon thread, below 0.3% of a core; never raises."""

    def __init__(self, cgroup: Cgroup, clock: Clock) -> None:
        self._cgroup = cgroup
        self._clock = clock
        self._samples: list[HostSample] = []
        self._gone = ""
        self._lock = threading.Lock()
        self._samplers = (Sampler(self.sample, CPU_PERIOD_S, "servebench-cgroup", _SHARE),)

    def window(self, begin_ns: int, end_ns: int) -> HostReading:
        """Return the reading over a window that has just ended; takes a closing sample first."""
        self.sample()
        with self._lock:
            reading = reading_over(self._samples, begin_ns, end_ns, memory_kind=CGROUP, gone=self._gone)
        return replace(reading, scope=CGROUP)

    def pids(self) -> frozenset[int]:
        """Return the processes in it, as this process numbers them."""
        return self._cgroup.pids()

    def sample(self) -> bool:
        """Take one sample now; False when the cgroup is gone."""
        with self._lock:
            try:
                cpu_s, memory_bytes = self._cgroup.cpu_s(), self._cgroup.memory_bytes()
            except (OSError, ValueError, KeyError) as error:
                self._gone = self._gone or f"the cgroup of its container cannot be read: {error}"
                return False
            self._samples.append(HostSample(self._clock.now_ns(), cpu_s, memory_bytes))
            return True
