"""What NVML says of the driver and of every GPU of the machine, once; for who wants to know before a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

from pytest_servebench.telemetry.gpu_devices import is_split
from pytest_servebench.telemetry.nvml import NoGpuError, UnreadError, ask, opened, text

T = TypeVar("T")

DEFAULT, EXCLUSIVE, PROHIBITED = "default", "exclusive", "prohibited"
COMPUTE_MODES = (DEFAULT, EXCLUSIVE, PROHIBITED, EXCLUSIVE)
"""By NVML's number: any process may compute on a GPU, one at a time, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSeen:
    """One GPU; what its driver does not say is None."""

    name: str
    memory_bytes: int | None = None
    used_bytes: int | None = None
    is_split: bool = False
    """Whether it has parts (MIG)."""
    is_persistent: bool | None = None
    """Whether its driver stays loaded while nobody uses it."""
    compute_mode: str = ""
    """Who may compute on it: one of `COMPUTE_MODES`; empty: the driver does not say."""
    capability: tuple[int, int] | None = None
    """Its compute capability, as (8, 9)."""
    pids: tuple[int, ...] | None = None
    """Processes that compute on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSurvey:
    """The driver and its GPUs, or why NVML says nothing."""

    driver: str = ""
    cuda: tuple[int, int] | None = None
    """The newest CUDA that this driver runs."""
    gpus: tuple[GpuSeen, ...] = ()
    absent: str = ""
    """Why NVML cannot be asked; empty: it was."""


def survey_gpus(nvml: ModuleType | None = None) -> GpuSurvey:
    """Return what there is; never raises. ``nvml`` is the pynvml module, for tests another one."""
    try:
        module = opened(nvml)
        count = int(ask(module, "nvmlDeviceGetCount"))
        return GpuSurvey(
            driver=_asked(lambda: text(ask(module, "nvmlSystemGetDriverVersion"))) or "",
            cuda=_asked(lambda: _version(int(ask(module, "nvmlSystemGetCudaDriverVersion")))),
            gpus=tuple(_seen(module, ask(module, "nvmlDeviceGetHandleByIndex", i)) for i in range(count)),
        )
    except (NoGpuError, UnreadError) as error:
        return GpuSurvey(absent=str(error))


def _seen(nvml: ModuleType, device: object) -> GpuSeen:
    memory = _asked(lambda: ask(nvml, "nvmlDeviceGetMemoryInfo", device))
    return GpuSeen(
        name=_asked(lambda: text(ask(nvml, "nvmlDeviceGetName", device))) or "a GPU without a name",
        memory_bytes=None if memory is None else int(memory.total),
        used_bytes=None if memory is None else int(memory.used),
        is_split=is_split(nvml, device),
        is_persistent=_asked(lambda: bool(ask(nvml, "nvmlDeviceGetPersistenceMode", device))),
        compute_mode=_asked(lambda: COMPUTE_MODES[int(ask(nvml, "nvmlDeviceGetComputeMode", device))]) or "",
        capability=_asked(lambda: _pair(ask(nvml, "nvmlDeviceGetCudaComputeCapability", device))),
        pids=_asked(
            lambda: tuple(int(each.pid) for each in ask(nvml, "nvmlDeviceGetComputeRunningProcesses", device))
        ),
    )


def _version(number: int) -> tuple[int, int]:
    """Return 13.0 from 13000."""
    return number // 1000, number % 1000 // 10


def _pair(numbers: Sequence[int]) -> tuple[int, int]:
    return int(numbers[0]), int(numbers[1])


def _asked(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except UnreadError:
        return None
