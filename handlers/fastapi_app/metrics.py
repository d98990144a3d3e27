"""The server's Prometheus metrics, under the names that dashboards know."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fastapi_app.batcher import Execution

_DURATIONS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Everything this server counts, in a registry of its own."""

    def __init__(self, model: str, *, waiting: Callable[[], int], gpu_index: int | None = None) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        self._requests = Counter(
            "image_classification_requests",
            "Inference requests answered, by HTTP status; 499: the client hung up",
            ["model", "status"],
            registry=self.registry,
        )
        self._duration = self._histogram(
            "image_classification_duration_seconds",
            "From reading a request to its answer, successful requests",
            _DURATIONS_S,
        )
        self._batch_size = self._histogram(
            "batch_size_distribution",
            "Images in one execution of the model; _sum is images, _count is executions",
            _BATCH_SIZES,
        )
        self._queue = self._summary("image_classification_queue_seconds", "Time requests waited in the queue")
        self._compute = self._summary(
            "image_classification_compute_seconds", "Time of the execution that answered, once per request"
        )
        queue_size = Gauge(
            "image_classification_queue_size", "Requests that wait", ["model"], registry=self.registry
        )
        queue_size.labels(model).set_function(waiting)
        if gpu_index is not None:
            self.registry.register(GpuUtilization(gpu_index))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, ["model"], buckets=buckets, registry=self.registry).labels(self._model)

    def _summary(self, name: str, text: str) -> Summary:
        return Summary(name, text, ["model"], registry=self.registry).labels(self._model)

    def answered(self, status: int, duration_s: float) -> None:
        """Count one inference request."""
        self._requests.labels(self._model, str(status)).inc()
        if status == 200:  # noqa: PLR2004 (the one HTTP status that means success here)
            self._duration.observe(duration_s)

    def executed(self, execution: Execution) -> None:
        """Count one run of the engine."""
        self._batch_size.observe(execution.images)
        for waited_ns in execution.queue_ns:
            self._queue.observe(waited_ns / 1e9)
            self._compute.observe(execution.compute_ns / 1e9)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class GpuUtilization(Collector):
    """``gpu_utilization_percent``: present only while NVML can be read, never a guessed 0."""

    def __init__(self, cuda_index: int) -> None:
        self._cuda_index = cuda_index

    def collect(self) -> Iterator[GaugeMetricFamily]:
        percent = read_gpu_utilization_percent(self._cuda_index)
        if percent is not None:
            family = GaugeMetricFamily(
                "gpu_utilization_percent", "Utilisation of the GPU that serves", labels=["gpu"]
            )
            family.add_metric([str(self._cuda_index)], percent)
            yield family


def read_gpu_utilization_percent(cuda_index: int) -> float | None:
    """Return the utilisation of the GPU that CUDA calls ``cuda_index``; None when unreadable."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = _gpu_handle(pynvml, cuda_index)
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except Exception:  # noqa: BLE001 (no package, driver, GPU or permission: each means "not readable")
        return None


def _gpu_handle(nvml: Any, cuda_index: int) -> Any:
    """CUDA counts the GPUs in CUDA_VISIBLE_DEVICES, NVML all of them."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[cuda_index] if visible else str(cuda_index)
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)
