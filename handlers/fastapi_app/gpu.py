"""The GPUs that serve, read by NVML whenever Prometheus asks; what cannot be read is absent, never 0."""

from __future__ import annotations

import ctypes
import importlib
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger("uvicorn.error")

Read = Callable[[Any, Any], float]

_FIGURES: tuple[tuple[str, str, Read], ...] = (
    (
        "gpu_utilization_percent",
        "Share of time in which at least one kernel ran on the GPU that serves",
        lambda nvml, gpu: float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    ),
    (
        "gpu_memory_used_bytes",
        "Memory in use on the GPU that serves, whoever uses it",
        lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    ),
)


class GpuUnreadableError(Exception):
    """The GPU cannot be found; the text is why."""


class GpuCollector(Collector):
    """The gauges of the GPUs that CUDA calls ``cuda_indexes``; a figure that cannot be read is left out.

    Reading takes milliseconds, and a GPU that is lost may take longer: never collect on the event loop.
    Why a figure is absent is logged, each reason once.
    """

    def __init__(self, cuda_indexes: Sequence[int]) -> None:
        self._cuda_indexes = tuple(cuda_indexes)
        self._nvml: Any = None
        self._handles: dict[int, Any] = {}
        self._logged: set[str] = set()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what can be read now."""
        found = [index for index in self._cuda_indexes if self._find(index)]
        for name, text, read in _FIGURES:
            family = GaugeMetricFamily(name, text, labels=["gpu"])
            for index in found:
                value = self._figure(name, index, read)
                if value is not None:
                    family.add_metric([str(index)], value)
            if family.samples:
                yield family

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metrics, so that registering them reads no GPU."""
        for name, text, _ in _FIGURES:
            yield GaugeMetricFamily(name, text, labels=["gpu"])

    def _figure(self, name: str, index: int, read: Read) -> float | None:
        try:
            return read(self._nvml, self._handles[index])
        except Exception as error:  # noqa: BLE001 (no permission, not supported, lost: each means "not readable")
            self._log_once(f"{name} is left out of the metrics{self._of(index)}: {error}")
            return None

    def _find(self, index: int) -> bool:
        """Open NVML and find the GPU, once; what failed is tried again at the next scrape."""
        try:
            if self._nvml is None:
                nvml = importlib.import_module("pynvml")
                nvml.nvmlInit()
                self._nvml = nvml
            if index not in self._handles:
                self._handles[index] = _nvml_handle(self._nvml, cuda_uuid(index))
        except Exception as error:  # noqa: BLE001 (no package, driver, GPU or permission: each means "not readable")
            self._log_once(f"no GPU metrics{self._of(index)}: {error}")
            return False
        return True

    def _of(self, index: int) -> str:
        """Return which GPU is meant, where there are several."""
        return f" of GPU {index}" if len(self._cuda_indexes) > 1 else ""

    def _log_once(self, reason: str) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            logger.warning(reason)


def cuda_uuid(cuda_index: int) -> str:
    """Return the UUID of the GPU, or part of one (MIG), that CUDA calls ``cuda_index`` in this process.

    CUDA is asked itself: it numbers the GPUs in ``CUDA_VISIBLE_DEVICES``, the fastest first or as
    ``CUDA_DEVICE_ORDER`` says, NVML all of the machine's by their slots. Raises `GpuUnreadableError`.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        of_uuid = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    except (OSError, AttributeError) as error:
        raise GpuUnreadableError(f"the CUDA driver cannot be asked: {error}") from error
    device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    steps: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (cuda.cuInit, (0,)),
        (cuda.cuDeviceGet, (ctypes.byref(device), cuda_index)),
        (of_uuid, (ctypes.byref(raw), device)),
    )
    for call, arguments in steps:
        code = call(*arguments)
        if code:
            raise GpuUnreadableError(f"CUDA does not know GPU {cuda_index}: error {code} of {call.__name__}")
    return str(uuid.UUID(bytes=bytes(raw)))


def _nvml_handle(nvml: Any, gpu_uuid: str) -> Any:
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{gpu_uuid}")
    except nvml.NVMLError_NotFound:
        return nvml.nvmlDeviceGetHandleByUUID(f"MIG-{gpu_uuid}")
