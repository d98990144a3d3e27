"""GPU use and memory by NVML; the only file that knows pynvml."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.sampling import Sampler

UTILIZATION = "gpu_utilization_percent"
MEMORY = "gpu_memory_bytes"
_PERIOD_S = 0.2


class NoGpuError(Exception):
    """There is no GPU to read; the text is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The NVIDIA GPUs of this machine."""

    names: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()
    """In the same order; one that NVML does not give is empty."""
    driver: str | None = None
    absent: str = ""
    """Why there are none; empty when there are."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One reading of one device, whoever uses it."""

    at_ns: int
    utilization_percent: float
    memory_bytes: int


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
        uuids = tuple(_uuid(opened, handle) for handle in handles)
        driver = _text(opened.nvmlSystemGetDriverVersion())
    except opened.NVMLError as error:
        return Gpus(absent=f"NVML cannot be asked: {error}")
    return Gpus(
        names=names, uuids=uuids, driver=driver, absent="" if names else "the NVIDIA driver sees no GPU"
    )


def reading_over(samples: Sequence[GpuSample], begin_ns: int, end_ns: int, *, absent: str = "") -> GpuReading:
    """Return what the samples inside a window say: mean utilisation, highest memory."""
    inside = [sample for sample in samples if begin_ns <= sample.at_ns <= end_ns]
    if not inside:
        reason = absent or "no sample fell into the window"
        return GpuReading(absent={UTILIZATION: reason, MEMORY: reason})
    return GpuReading(
        utilization_percent=sum(sample.utilization_percent for sample in inside) / len(inside),
        memory_bytes=max(sample.memory_bytes for sample in inside),
    )


class GpuProbe:
    """Samples the GPU ``index`` five times a second in a daemon thread; never raises.

    Where there is no such GPU, every window has the reason instead of figures.
    """

    def __init__(self, index: int, clock: Clock, nvml: ModuleType | None = None) -> None:
        self._clock = clock
        self._samples: list[GpuSample] = []
        self._lock = threading.Lock()
        self._absent = ""
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
        """Take one sample now; False when the device cannot be read."""
        if self._handle is None or self._nvml is None:
            return False
        try:
            use = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError as error:
            self._absent = f"the GPU cannot be read: {error}"
            return False
        with self._lock:
            self._samples.append(GpuSample(self._clock.now_ns(), float(use.gpu), int(memory.used)))
        return True

    def _open(self, index: int, nvml: ModuleType | None) -> None:
        try:
            self._nvml = _opened(nvml)
        except NoGpuError as error:
            self._absent = str(error)
            return
        try:
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        except self._nvml.NVMLError as error:
            self._absent = f"no GPU {index}: {error}"


def _uuid(nvml: ModuleType, handle: Any) -> str:  # noqa: ANN401 (NVML's own)
    try:
        return _text(nvml.nvmlDeviceGetUUID(handle))
    except (AttributeError, nvml.NVMLError):
        return ""


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
