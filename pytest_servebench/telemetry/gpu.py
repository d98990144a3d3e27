"""Samples one GPU, or a part of one, by NVML."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import ModuleType
from typing import Any

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry import gpu_window as of
from pytest_servebench.telemetry.gpu_devices import Watched, is_split, watched
from pytest_servebench.telemetry.gpu_window import GpuReading, GpuUse, nothing, reading_over
from pytest_servebench.telemetry.nvml import NoGpuError, UnreadError, ask, opened, text
from pytest_servebench.telemetry.sampling import Sampled, Sampler

PROCESSES, DEVICE, MIG = "processes", "device", "mig"
_PERIOD_S = 0.2
_SURVEY_PERIOD_S = 1.0
_SHARE = 0.002
_SURVEY_SHARE = 0.001
_SM, _MEMORY, _TEMPERATURE_SENSOR = 1, 2, 0
"""NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU."""

Read = Callable[[ModuleType, Watched], Any]


def _throttle_of(nvml: ModuleType, gpu: Watched) -> int:
    """Return the reasons as bits; the function had another name once, in bindings and in drivers."""
    try:
        return int(ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", gpu.device))
    except UnreadError:
        return int(ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", gpu.device))


_OFTEN: dict[str, Read] = {
    of.UTILIZATION: lambda nvml, gpu: float(ask(nvml, "nvmlDeviceGetUtilizationRates", gpu.own).gpu),
    of.MEMORY: lambda nvml, gpu: int(ask(nvml, "nvmlDeviceGetMemoryInfo", gpu.own).used),
    of.ENERGY: lambda nvml, gpu: ask(nvml, "nvmlDeviceGetTotalEnergyConsumption", gpu.device) / 1e3,
    of.POWER: lambda nvml, gpu: ask(nvml, "nvmlDeviceGetPowerUsage", gpu.device) / 1e3,
    of.THROTTLE: _throttle_of,
    of.SM_CLOCK: lambda nvml, gpu: float(ask(nvml, "nvmlDeviceGetClockInfo", gpu.device, _SM)),
    of.MEMORY_CLOCK: lambda nvml, gpu: float(ask(nvml, "nvmlDeviceGetClockInfo", gpu.device, _MEMORY)),
}
_SELDOM: dict[str, Read] = {
    of.TEMPERATURE: lambda nvml, gpu: float(
        ask(nvml, "nvmlDeviceGetTemperature", gpu.device, _TEMPERATURE_SENSOR)
    ),
    of.POWER_LIMIT: lambda nvml, gpu: ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", gpu.device) / 1e3,
    of.POWER_DEFAULT: lambda nvml, gpu: (
        ask(nvml, "nvmlDeviceGetPowerManagementDefaultLimit", gpu.device) / 1e3
    ),
    of.SM_CLOCK_MAX: lambda nvml, gpu: float(ask(nvml, "nvmlDeviceGetMaxClockInfo", gpu.device, _SM)),
}


class GpuProbe(Sampled):
    """Samples the GPU ``cuda:index`` in two daemon threads, together below 0.3% of a core; never raises.

    Five times a second: utilisation, memory, energy, power, clocks and why these are held down; once a
    second: whose processes are on it, temperature, power limit and what it can do at most. Where there is no
    such GPU, every window has the reason instead of figures; a figure that this GPU does not report leaves
    the others where they are.
    ``visible`` is the CUDA_VISIBLE_DEVICES of servers; ``pids`` gives the server's processes as this machine
    numbers them, none: they are not known.
    """

    def __init__(
        self,
        index: int,
        clock: Clock,
        nvml: ModuleType | None = None,
        *,
        visible: str | None = None,
        pids: Callable[[], frozenset[int]] = frozenset,
    ) -> None:
        self._clock = clock
        self._pids = pids
        self._log: dict[str, list[tuple[int, Any]]] = {}
        self._lock = threading.Lock()
        self._absent: dict[str, str] = {}
        self._own_seen = False
        self._nowhere = ""
        self._samplers = (
            Sampler(self.survey, _SURVEY_PERIOD_S, f"servebench-gpu-survey-{index}", _SURVEY_SHARE),
            Sampler(self.sample, _PERIOD_S, f"servebench-gpu-{index}", _SHARE),
        )
        try:
            self._nvml = opened(nvml)
            self._gpu = watched(self._nvml, index, visible)
        except NoGpuError as error:
            self._nowhere = str(error)

    def window(self, begin_ns: int, end_ns: int) -> GpuReading:
        """Return the reading over a window that has just ended; takes a closing sample first."""
        if self._nowhere:
            return nothing(self._nowhere)
        self.sample()
        self.survey()
        with self._lock:
            found = reading_over(self._log, begin_ns, end_ns, absent=self._absent)
        return replace(found, gpu_name=self.name, gpu_scope=self.scope)

    @property
    def name(self) -> str | None:
        """The name of the GPU or of the part that is watched; None where it has none."""
        try:
            return None if self._nowhere else text(ask(self._nvml, "nvmlDeviceGetName", self._gpu.own))
        except UnreadError:
            return None

    @property
    def scope(self) -> str | None:
        """Whose figures these are; None without a GPU.

        Those of a part of one (``mig``), or of a whole device: ``processes`` where the server's were found
        on it, so that their memory and that of others are told apart, else ``device``.
        """
        if self._nowhere:
            return None
        if self._gpu.part is not None:
            return MIG
        return PROCESSES if self._own_seen else DEVICE

    @property
    def is_split(self) -> bool:
        """Whether it is a whole GPU that is split into parts: nobody named the server's."""
        return not self._nowhere and self._gpu.part is None and is_split(self._nvml, self._gpu.device)

    def sample(self) -> bool:
        """Read what changes fast; False when nothing of it can be read."""
        return self._read(_OFTEN)

    def survey(self) -> bool:
        """Read what changes slowly, and who is on the GPU; False when nothing of it can be read."""
        if self._nowhere:
            return False
        read = self._read(_SELDOM)
        try:
            use = use_of(self._processes(), self._pids())
        except UnreadError as error:
            self._note(of.OTHERS, None, str(error))
            self._note(of.PROCESS_MEMORY, None, str(error))
            return read
        self._own_seen = True
        self._note(of.OTHERS, use, "")
        self._note(
            of.PROCESS_MEMORY, use.own_bytes, "the driver does not say how much memory each process has"
        )
        return True

    def _read(self, figures: dict[str, Read]) -> bool:
        if self._nowhere:
            return False
        read = False
        for figure, ask_for in figures.items():
            read |= self._read_one(figure, ask_for)
        return read

    def _read_one(self, figure: str, ask_for: Read) -> bool:
        try:
            self._note(figure, ask_for(self._nvml, self._gpu), "")
        except UnreadError as error:
            self._note(figure, None, str(error))
            return False
        return True

    def _note(self, figure: str, value: object, why_none: str) -> None:
        with self._lock:
            self._log.setdefault(figure, []).append((self._clock.now_ns(), value))
            if value is None:
                self._absent[figure] = why_none

    def _processes(self) -> dict[int, int | None]:
        """Return the memory of each process on it, by its id; None where the driver does not say."""
        found: dict[int, int | None] = {}
        for kind in ("nvmlDeviceGetGraphicsRunningProcesses", "nvmlDeviceGetComputeRunningProcesses"):
            try:
                listed: Iterable[Any] = ask(self._nvml, kind, self._gpu.own)
            except UnreadError:
                if "Compute" in kind:
                    raise
                continue
            found.update({int(each.pid): each.usedGpuMemory for each in listed})
        return found


def use_of(processes: dict[int, int | None], server: frozenset[int]) -> GpuUse:
    """Return whose processes are on a GPU; raises `UnreadError` where the server's are not among them.

    Then nobody can say who the others are: the driver may count processes otherwise than this machine does
    (inside a container, say). This process is nobody's neighbour.
    """
    if not server:
        raise UnreadError("the server's processes are not known")
    own = [used for pid, used in processes.items() if pid in server]
    if not own:
        raise UnreadError(
            f"none of the {len(processes)} processes that the driver lists on the GPU is the server's"
        )
    others = {pid: used for pid, used in processes.items() if pid not in server and pid != os.getpid()}
    known = [used for used in own if used is not None]
    return GpuUse(sum(known) if len(known) == len(own) else None, others)
