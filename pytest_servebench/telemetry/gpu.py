"""GPU use and memory by NVML; the only file that knows pynvml."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.sampling import Sampler

UTILIZATION = "gpu_utilization_percent"
MEMORY = "gpu_memory_bytes"
_PERIOD_S = 0.2

Number = TypeVar("Number", int, float)


class NoGpuError(Exception):
    """There is no GPU to read; the text is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The NVIDIA GPUs of this machine."""

    names: tuple[str, ...] = ()
    driver: str | None = None
    absent: str = ""
    """Why there are none; empty when there are."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One reading of one device, whoever uses it; None is what could not be read."""

    at_ns: int
    utilization_percent: float | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One device over a window; None with the reason in ``absent``, by `Telemetry` field name."""

    utilization_percent: float | None = None
    """Mean of the samples; NVML means: share of time in which at least one kernel ran."""
    memory_bytes: int | None = None
    """Highest seen, of the whole device."""
    absent: Mapping[str, str] = field(default_factory=dict)


def gpu_names(nvml: ModuleType | None = None) -> Gpus:
    """Return the names of all GPUs, or why there are none; never raises.

    ``nvml`` is the pynvml module, for tests another one.
    """
    try:
        opened = _opened(nvml)
    except NoGpuError as error:
        return Gpus(absent=str(error))
    try:
        handles = [opened.nvmlDeviceGetHandleByIndex(i) for i in range(opened.nvmlDeviceGetCount())]
        names = tuple(_text(opened.nvmlDeviceGetName(handle)) for handle in handles)
        driver = _text(opened.nvmlSystemGetDriverVersion())
    except opened.NVMLError as error:
        return Gpus(absent=f"NVML cannot be asked: {error}")
    return Gpus(names=names, driver=driver, absent="" if names else "the NVIDIA driver sees no GPU")


def reading_over(
    samples: Sequence[GpuSample], begin_ns: int, end_ns: int, *, absent: Mapping[str, str] | None = None
) -> GpuReading:
    """Return what the samples inside a window say: mean utilisation, highest memory.

    A figure that one of them lacks is absent: what is left would not speak for the window.
    ``absent`` is why a figure could not be read, by `Telemetry` field name.
    """
    inside = [sample for sample in samples if begin_ns <= sample.at_ns <= end_ns]
    use = [sample.utilization_percent for sample in inside if sample.utilization_percent is not None]
    memory = [sample.memory_bytes for sample in inside if sample.memory_bytes is not None]
    lacking = {
        name for name, read in ((UTILIZATION, use), (MEMORY, memory)) if len(read) < max(1, len(inside))
    }
    return GpuReading(
        utilization_percent=None if UTILIZATION in lacking else sum(use) / len(use),
        memory_bytes=None if MEMORY in lacking else max(memory),
        absent={name: (absent or {}).get(name, "no sample fell into the window") for name in sorted(lacking)},
    )


class GpuProbe:
    """Samples the GPU ``index`` five times a second in a daemon thread; never raises.

    Where there is no such GPU, every window has the reason instead of figures; a figure that this
    GPU does not report (the utilisation of a part of one, say) leaves the other where it is.
    """

    def __init__(self, index: int, clock: Clock, nvml: ModuleType | None = None) -> None:
        self._clock = clock
        self._samples: list[GpuSample] = []
        self._lock = threading.Lock()
        self._absent: dict[str, str] = {}
        self._nvml: ModuleType | None = None
        self._handle: Any = None
        self._sampler = Sampler(self.sample, _PERIOD_S, f"servebench-gpu-{index}")
        self._open(index, nvml)

    def start(self) -> None:
        """Begin to sample; call it before the window begins."""
        self._sampler.start()

    def stop(self) -> None:
        """End the thread; may be called twice."""
        self._sampler.stop()

    def window(self, begin_ns: int, end_ns: int) -> GpuReading:
        """Return the reading over a window that has just ended."""
        with self._lock:
            return reading_over(self._samples, begin_ns, end_ns, absent=self._absent)

    def sample(self) -> bool:
        """Take one sample now; False when nothing of the device can be read."""
        if self._handle is None or self._nvml is None:
            return False
        use = self._read(UTILIZATION, lambda nvml, gpu: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu))
        memory = self._read(MEMORY, lambda nvml, gpu: int(nvml.nvmlDeviceGetMemoryInfo(gpu).used))
        with self._lock:
            self._samples.append(GpuSample(self._clock.now_ns(), use, memory))
        return use is not None or memory is not None

    def _read(self, figure: str, read: Callable[[Any, Any], Number]) -> Number | None:
        assert self._nvml is not None
        try:
            return read(self._nvml, self._handle)
        except self._nvml.NVMLError as error:
            self._absent[figure] = f"the GPU cannot be read: {error}"
            return None

    def _open(self, index: int, nvml: ModuleType | None) -> None:
        try:
            self._nvml = _opened(nvml)
        except NoGpuError as error:
            self._absent = dict.fromkeys((UTILIZATION, MEMORY), str(error))
            return
        try:
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except self._nvml.NVMLError as error:
            self._absent = dict.fromkeys((UTILIZATION, MEMORY), f"no GPU {index}: {error}")


def _opened(nvml: ModuleType | None) -> ModuleType:
    """Return pynvml, initialised; raises `NoGpuError`.

    It counts its users inside the process and is left open: closing it would pull it from under
    another probe.
    """
    try:
        module = nvml or importlib.import_module("pynvml")
    except ImportError as error:
        raise NoGpuError("nvidia-ml-py is not installed") from error
    try:
        module.nvmlInit()
    except module.NVMLError as error:
        raise NoGpuError(f"no NVIDIA driver: {error}") from error
    return module


def _text(value: str | bytes) -> str:
    """Return text; older bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value
