"""The server's Prometheus metrics, under the names that dashboards know."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    generate_latest,
)

from fastapi_app.batcher import Execution
from fastapi_app.gpu import GpuCollector

_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5)
DURATIONS_S = (*(float(f"{step}e{power}") for power in (-3, -2, -1, 0) for step in _STEPS), 10.0)
"""Upper bounds of the durations' buckets, 1 ms to 10 s, each at most half as large again as the one before:
a percentile read from them is off by no more than that."""
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Everything this server counts, in a registry of its own."""

    def __init__(self, model: str, *, waiting: Callable[[], int], gpu_indexes: Sequence[int] = ()) -> None:
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
            DURATIONS_S,
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
        ProcessCollector(registry=self.registry)
        if gpu_indexes:
            self.registry.register(GpuCollector(gpu_indexes))

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
        """Return all metrics in Prometheus' text format; it reads the GPU, so not on the event loop."""
        return generate_latest(self.registry)
