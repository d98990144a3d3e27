"""GPU use and memory by NVML; the only file that knows pynvml."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from pytest_servebench.interfaces import Clock
from pytest_servebench.telemetry.sampling import Sampler

UTILIZATION = "gpu_utilization_percent"
MEMORY = "gpu_memory_bytes"
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""By which a user or Slurm says which GPUs programs see, and in which order."""
_PERIOD_S = 0.2

Number = TypeVar("Number", int, float)


class NoGpuError(Exception):
    """There is no GPU to read; the text is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """NVIDIA GPUs, in the order of ``cuda:0``, ``cuda:1``, ... in servers that are started here."""

    names: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()
    """In the same order; one that NVML does not give is empty."""
    slots: tuple[int, ...] = ()
    """Which they are by NVML's count of all of the machine."""
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


def gpu_names(nvml: ModuleType | None = None, *, visible: str | None = None) -> Gpus:
    """Return the names of all GPUs, or why there are none; never raises.

    ``nvml`` is the pynvml module, for tests another one; ``visible`` the value of CUDA_VISIBLE_DEVICES that
    servers will see, None: they see all.
    """
    try:
        opened = _opened(nvml)
    except NoGpuError as error:
        return Gpus(absent=str(error))
    try:
        seen = _seen(opened, visible)
        handles = tuple(seen.values())
        names = tuple(_text(opened.nvmlDeviceGetName(handle)) for handle in handles)
        uuids = tuple(_uuid(opened, handle) for handle in handles)
        driver = _text(opened.nvmlSystemGetDriverVersion())
    except opened.NVMLError as error:
        return Gpus(absent=f"NVML cannot be asked: {error}")
    none = "the NVIDIA driver sees no GPU" if visible is None else f"{VISIBLE}={visible} names no GPU"
    return Gpus(names=names, uuids=uuids, slots=tuple(seen), driver=driver, absent="" if names else none)


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
    """Samples the GPU ``cuda:index`` five times a second in a daemon thread; never raises.

    Where there is no such GPU, every window has the reason instead of figures; a figure that this
    GPU does not report (the utilisation of a part of one, say) leaves the other where it is.
    """

    def __init__(
        self, index: int, clock: Clock, nvml: ModuleType | None = None, *, visible: str | None = None
    ) -> None:
        self._clock = clock
        self._samples: list[GpuSample] = []
        self._lock = threading.Lock()
        self._absent: dict[str, str] = {}
        self._nvml: ModuleType | None = None
        self._handle: Any = None
        self._sampler = Sampler(self.sample, _PERIOD_S, f"servebench-gpu-{index}")
        self._open(index, nvml, visible)

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

    def _open(self, index: int, nvml: ModuleType | None, visible: str | None) -> None:
        try:
            self._nvml = _opened(nvml)
        except NoGpuError as error:
            self._absent = dict.fromkeys((UTILIZATION, MEMORY), str(error))
            return
        try:
            seen = None if visible is None else tuple(_seen(self._nvml, visible).values())
            if seen is None:
                self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            elif index < len(seen):
                self._handle = seen[index]
            else:
                self._absent = dict.fromkeys((UTILIZATION, MEMORY), f"no GPU {index}: {VISIBLE}={visible}")
        except self._nvml.NVMLError as error:
            self._absent = dict.fromkeys((UTILIZATION, MEMORY), f"no GPU {index}: {error}")


def visible_devices() -> str | None:
    """Return what this process's environment says of GPUs, which servers inherit; None: nothing."""
    return os.environ.get(VISIBLE)


def _seen(nvml: ModuleType, visible: str | None) -> dict[int, Any]:
    """Return the GPUs that CUDA offers, in its order: NVML's handle by slot.

    A list ends for CUDA at the first word that is no GPU, and one that names a GPU twice is empty (CUDA C++
    Programming Guide, "CUDA Environment Variables"). Parts of GPUs (MIG) are not resolved.
    """
    every = {i: nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())}
    if visible is None or "MIG-" in visible:
        return every
    slots: list[int] = []
    for word in visible.split(","):
        slot = _slot(nvml, every, word.strip())
        if slot is None:
            break
        slots.append(slot)
    return {slot: every[slot] for slot in slots} if len(set(slots)) == len(slots) else {}


def _slot(nvml: ModuleType, every: Mapping[int, Any], word: str) -> int | None:
    """Return which GPU is named by its slot, or by how its UUID begins."""
    if word.isdecimal():
        return int(word) if int(word) in every else None
    named = [slot for slot, handle in every.items() if _uuid(nvml, handle).startswith(word)]
    return named[0] if word.startswith("GPU-") and len(named) == 1 else None


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
