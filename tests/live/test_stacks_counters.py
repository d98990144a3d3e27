"""The three real servers under a load: their own counters over the window, and what they do without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.interfaces import Stack
from pytest_servebench.load.driver import LoadDriver
from pytest_servebench.plan import Artifact, Case, Deployment, Image, Load, ModelFormat
from pytest_servebench.pool import controls_models
from pytest_servebench.raw_baseline import RawBaselines
from pytest_servebench.readings import Readings, readings_beside
from pytest_servebench.results import Progress, Telemetry
from pytest_servebench.samples import Samples
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from tests.serving import Served, start

pytestmark = pytest.mark.live

LOAD = Load(concurrency=4, warmup_s=2.0, duration_s=2.0, verify_share=0.0)
PARTS = {"compute_input_ms", "compute_infer_ms", "compute_output_ms"}
LACKS = {
    "fastapi": {*PARTS, "handler_time_ms"},
    "triton": {"handler_time_ms"},
    "torchserve": PARTS,
}
"""What a stack does not report."""
IDLE_CORES = 0.3
"""A JVM still compiles a little; a thread that spins takes a whole core."""


@dataclass(frozen=True)
class Passing:
    """Passes on how far the load is."""

    readings: Readings

    def progress(self, progress: Progress) -> None:
        self.readings.progress(progress)

    def server_gone(self) -> str | None:
        return None


@dataclass(frozen=True)
class Loaded:
    """A server that was loaded once."""

    served: Served
    case: Case
    samples: Samples
    telemetry: Telemetry


@pytest.fixture(scope="module", params=[Fastapi(), Triton(), Torchserve()], ids=lambda stack: str(stack.name))
def loaded(
    request: pytest.FixtureRequest,
    artifacts: dict[str, Artifact],
    images: list[Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Loaded]:
    """One server of each stack, after as long a warm-up as its window."""
    stack: Stack = request.param
    deployment = Deployment(stack=stack.name, model="tiny", format=ModelFormat.ONNX, threads=1)
    case = Case(deployment=deployment, load=LOAD)
    requests = [stack.encode(case, [image]) for image in images]
    with (
        start(stack, [deployment], artifacts, tmp_path_factory.mktemp("work")) as served,
        served.loaded(deployment) if controls_models(stack) else nullcontext(),
    ):
        served.send_together(requests)
        endpoint, driver = served.running.endpoint, LoadDriver()
        with readings_beside(endpoint, deployment, stack, driver, MonotonicClock()) as readings:
            samples = driver.run(endpoint, requests, LOAD, Passing(readings))
            telemetry = readings.over(samples.window_ns)
        yield Loaded(served, case, samples, telemetry)


def test_counters_are_those_of_the_window(loaded: Loaded) -> None:
    """What the server counted is what the client saw between the two readings, the warm-up left out."""
    seen, samples = loaded.telemetry, loaded.samples
    assert seen.counters_offset_s is not None, seen.absent
    begin_ns, end_ns = (
        edge + offset_s * 1e9
        for edge, offset_s in zip(samples.window_ns, seen.counters_offset_s, strict=True)
    )
    received = samples.received_ns
    expected = int(np.count_nonzero((received > begin_ns) & (received <= end_ns)))
    assert len(received) > 1.5 * expected, "the warm-up had as many"
    assert seen.executions is not None
    assert seen.batch_size_achieved is not None
    counted = seen.executions * seen.batch_size_achieved
    assert counted == pytest.approx(expected, rel=0.2, abs=3 * LOAD.concurrency)


def test_every_figure_is_there_or_says_why_not(loaded: Loaded) -> None:
    """Each stack has the figures that its server reports, and a reason for each of the others."""
    seen = loaded.telemetry
    figures = {*PARTS, "queue_time_ms", "compute_time_ms", "handler_time_ms", "executions", "batch_sizes"}
    absent = {name for name in figures if getattr(seen, name) is None}
    assert absent == LACKS[loaded.case.stack]
    assert absent <= seen.absent.keys()
    assert seen.batch_sizes is not None
    assert sum(seen.batch_sizes.values()) == pytest.approx(seen.executions, abs=2)


def test_parts_of_the_compute_time_add_up(loaded: Loaded) -> None:
    """Triton's three parts are its compute time; TorchServe's handler is less than all of its own."""
    seen = loaded.telemetry
    assert seen.compute_time_ms
    if loaded.case.stack == "triton":
        parts = [seen.compute_input_ms, seen.compute_infer_ms, seen.compute_output_ms]
        assert sum(part or 0.0 for part in parts) == pytest.approx(seen.compute_time_ms)
    if loaded.case.stack == "torchserve":
        assert seen.handler_time_ms is not None
        assert 0 < seen.handler_time_ms <= seen.compute_time_ms * 1.1


def test_a_server_without_a_load_leaves_the_cores_alone(loaded: Loaded) -> None:
    """Its engine's threads do not spin, so that the model can be measured in process beside it."""
    group = loaded.served.group()

    def cpu_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in group)

    before_s = cpu_s()
    MonotonicClock().sleep_s(1.0)
    assert cpu_s() - before_s < IDLE_CORES


def test_the_model_is_measured_beside_the_idle_server(loaded: Loaded, artifacts: dict[str, Artifact]) -> None:
    """The baseline is that of full batches, and no server of ours comes up to a multiple of it."""
    baselines = RawBaselines(lambda one: artifacts[one.served_name], [loaded.case])
    raw = baselines.of(loaded.case, loaded.served.running.endpoint)
    assert raw.absent == ""
    assert raw.batch_size == LOAD.concurrency
    assert raw.engine == "onnxruntime CPUExecutionProvider"
    assert raw.images_per_s is not None
    begin_ns, end_ns = loaded.samples.window_ns
    served_per_s = np.count_nonzero(loaded.samples.received_ns > begin_ns) / ((end_ns - begin_ns) / 1e9)
    assert 0 < served_per_s < 2 * raw.images_per_s
