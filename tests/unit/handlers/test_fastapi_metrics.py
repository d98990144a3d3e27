"""The server's metrics, read as Prometheus reads them."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi_app.batcher import Execution
from fastapi_app.metrics import Metrics, read_gpu_utilization_percent
from prometheus_client.parser import text_string_to_metric_families


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return all samples by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


class FakeNvml:
    """NVML as far as the server uses it: GPUs that are as busy as their index."""

    def __init__(self, *, driver: bool = True) -> None:
        self._driver = driver

    def nvmlInit(self) -> None:  # noqa: N802 (NVML's name)
        if not self._driver:
            raise OSError("no driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: N802 (NVML's name)
        return f"GPU-{index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: N802 (NVML's name)
        return uuid

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802 (NVML's name)
        return SimpleNamespace(gpu=int(handle.rpartition("-")[2]))


def metrics(gpu_index: int | None = None) -> Metrics:
    """Return fresh metrics of a model with three requests in its queue."""
    return Metrics("m", waiting=lambda: 3, gpu_index=gpu_index)


def test_executions_give_images_batches_and_times() -> None:
    """Sum and count of the batch sizes are images and executions; times are per request."""
    seen = metrics()
    seen.executed(Execution(images=6, queue_ns=(1_000_000_000, 500_000_000), compute_ns=2_000_000_000))
    seen.executed(Execution(images=1, queue_ns=(0,), compute_ns=1_000_000_000))
    found = values(seen)
    assert found["batch_size_distribution_sum", "m"] == 7
    assert found["batch_size_distribution_count", "m"] == 2
    assert found["image_classification_queue_seconds_sum", "m"] == 1.5
    assert found["image_classification_queue_seconds_count", "m"] == 3
    assert found["image_classification_compute_seconds_sum", "m"] == 5


def test_requests_are_counted_by_status_and_timed_when_they_succeed() -> None:
    """A quick refusal counts, and does not make the latency histogram look fast."""
    seen = metrics()
    seen.answered(200, 0.25)
    seen.answered(503, 0.001)
    found = values(seen)
    assert found["image_classification_requests_total", "m", "200"] == 1
    assert found["image_classification_requests_total", "m", "503"] == 1
    assert found["image_classification_duration_seconds_sum", "m"] == 0.25
    assert found["image_classification_duration_seconds_count", "m"] == 1
    assert found["image_classification_queue_size", "m"] == 3


def test_no_gpu_metric_on_a_cpu() -> None:
    """A server on a CPU reports no GPU utilisation, rather than 0."""
    assert b"gpu_utilization_percent" not in metrics().text()


@pytest.mark.parametrize("nvml", [None, FakeNvml(driver=False)])
def test_no_gpu_metric_without_a_readable_gpu(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None) -> None:
    """Without NVML or its driver the metric is absent, and the others are there."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    text = metrics(gpu_index=0).text()
    assert b"gpu_utilization_percent" not in text
    assert b"batch_size_distribution_count" in text


def test_gpu_metric_where_a_gpu_is_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A readable GPU's utilisation is the device's own reading."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert values(metrics(gpu_index=42))["gpu_utilization_percent", "42"] == 42


@pytest.mark.parametrize(
    ("visible", "cuda_index", "percent"),
    [("", 1, 1), ("5,3", 1, 3), ("5,GPU-aa-77", 1, 77), ("5", 1, None)],
)
def test_visible_devices_renumber_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str, cuda_index: int, percent: float | None
) -> None:
    """The GPU that is read is the one CUDA serves on, whatever NVML calls it."""
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert read_gpu_utilization_percent(cuda_index) == percent
