"""The server's metrics, read as Prometheus reads them."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
from fastapi_app.batcher import Execution
from fastapi_app.metrics import DURATIONS_S, Metrics
from prometheus_client.parser import text_string_to_metric_families


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return all samples by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def metrics(*gpu_indexes: int) -> Metrics:
    """Return fresh metrics of a model with three requests in its queue."""
    return Metrics("m", waiting=lambda: 3, gpu_indexes=gpu_indexes)


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


def test_no_gpu_metric_without_a_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-ml-py the GPU's metrics are absent, and the others are there."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    text = metrics(0).text()
    assert b"gpu_" not in text
    assert b"batch_size_distribution_count" in text


def test_the_process_itself_is_in_the_metrics() -> None:
    """CPU time and memory of the server's process are those of the process that is asked."""
    found = values(metrics())
    assert found["process_resident_memory_bytes",] > 10**7
    assert found["process_cpu_seconds_total",] > 0


def test_buckets_of_durations_are_fine_from_1_ms_to_10_s() -> None:
    """A percentile read from the buckets is off by half at most, wherever in that range it lies."""
    assert (DURATIONS_S[0], DURATIONS_S[-1]) == (0.001, 10.0)
    steps = [above / below for below, above in pairwise(DURATIONS_S)]
    assert min(steps) > 1
    assert max(steps) <= 1.5 + 1e-9
    assert {0.05, 0.1} <= set(DURATIONS_S), (
        "the limits that the load test has are bounds, so no share is guessed"
    )
