"""The server's GPU gauges, read by the real nvidia-ml-py from libraries that stand in for NVIDIA's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_servebench.folders.shipped import shipped
from tests.nvml_stand_in import NO_CUDA_DEVICE, Fault, NvmlStandIn, StandInGpu, build_nvml_stand_in

SCRAPE = """
import json, logging, sys
sys.path.insert(0, sys.argv[1])
from fastapi_app.gpu import GpuCollector
logged = []
logging.getLogger("uvicorn.error").addFilter(lambda record: logged.append(record.getMessage()))
gpu = GpuCollector(list(map(int, sys.argv[2].split(","))))
for _ in sys.stdin:
    samples = [sample for family in gpu.collect() for sample in family.samples]
    found = {}
    for sample in samples:
        found.setdefault(sample.name, []).append([sample.labels["gpu"], sample.value])
    print(json.dumps([found, logged]), flush=True)
"""
SERVED = """
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fastapi_app.app import create_app
from fastapi_app.settings import Settings
from tests.unit.handlers.brightness import BrightnessEngine, serving
engine = BrightnessEngine()
engine.name = "onnxruntime CUDAExecutionProvider"
app = create_app(Settings(model_path=Path(sys.argv[2]), device="cuda"), lambda _: engine)
async def page():
    async with serving(app) as client:
        return (await client.get("/metrics")).text
for _ in sys.stdin:
    print(json.dumps(asyncio.run(page())), flush=True)
"""
BUSY = StandInGpu(utilization_percent=37, memory_bytes=3 * 2**30)
IDLE = StandInGpu(utilization_percent=0, memory_bytes=2**20)
HANDLERS = str(shipped("handlers"))


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> NvmlStandIn:
    """Return NVIDIA's libraries as they are without a GPU."""
    return build_nvml_stand_in(tmp_path_factory.mktemp("stand-in"))


@dataclass(frozen=True)
class Scrape:
    """What one collection gave, and all that was logged so far."""

    utilization_percent: float | None
    memory_bytes: float | None
    gpus: set[str]
    logged: list[str]


def scrape(ask: Callable[[], Any]) -> Scrape:
    """Return the next collection of `SCRAPE`."""
    found, logged = ask()
    return Scrape(
        utilization_percent=found.get("gpu_utilization_percent", [(None, None)])[0][1],
        memory_bytes=found.get("gpu_memory_used_bytes", [(None, None)])[0][1],
        gpus={label for samples in found.values() for label, _ in samples},
        logged=logged,
    )


def test_each_scrape_reads_the_gpu_anew(gpus: NvmlStandIn) -> None:
    """The gauges are the device's readings of that moment, and an idle GPU has used 0%."""
    with gpus.asking(SCRAPE, HANDLERS, "0") as ask:
        for gpu, percent, memory_bytes in ((BUSY, 37, 3 * 2**30), (IDLE, 0, 2**20)):
            gpus.say(gpu)
            assert scrape(ask) == Scrape(percent, memory_bytes, {"0"}, [])


@pytest.mark.parametrize(
    ("order", "visible", "cuda_index", "percent"),
    [
        ((0, 1, 2), None, 1, 11),
        # CUDA counts the fastest first, NVML by slot.
        ((2, 0, 1), None, 0, 12),
        # CUDA_VISIBLE_DEVICES renumbers what CUDA counts.
        ((0, 1, 2), "2,0", 0, 12),
        ((0, 1, 2), "2,0", 1, 10),
        ((2, 0, 1), "2", 0, 11),
    ],
)
def test_the_gpu_is_the_one_that_cuda_serves_on(
    gpus: NvmlStandIn, order: tuple[int, ...], visible: str | None, cuda_index: int, percent: int
) -> None:
    """Whatever NVML calls it, the gauge is of the GPU that CUDA gives the model, under CUDA's number."""
    gpus.say(*(StandInGpu(utilization_percent=10 + i) for i in range(3)), cuda_order=order)
    with gpus.asking(SCRAPE, HANDLERS, str(cuda_index), visible=visible) as ask:
        seen = scrape(ask)
    assert (seen.utilization_percent, seen.gpus) == (percent, {str(cuda_index)})


def test_each_of_several_gpus_has_its_own_gauge(gpus: NvmlStandIn) -> None:
    """One sample for each that serves, by its number; one that cannot be read leaves the other's."""
    lost = StandInGpu(utilization_percent=Fault.GPU_IS_LOST, memory_bytes=5)
    gpus.say(BUSY, IDLE, lost)
    with gpus.asking(SCRAPE, HANDLERS, "0,2") as ask:
        found, logged = ask()
        assert found["gpu_utilization_percent"] == [["0", 37]]
        assert found["gpu_memory_used_bytes"] == [["0", 3 * 2**30], ["2", 5]]
        assert logged == ["gpu_utilization_percent is left out of the metrics of GPU 2: GPU is lost"]
        gpus.say(BUSY, cuda_order=(0,))
    with gpus.asking(SCRAPE, HANDLERS, "0,2") as ask:
        found, logged = ask()
    assert found["gpu_utilization_percent"] == [["0", 37]]
    assert [line[:26] for line in logged] == ["no GPU metrics of GPU 2: C"]


def test_a_part_of_a_gpu_has_its_own_memory(gpus: NvmlStandIn) -> None:
    """A MIG instance is found by its own UUID; NVML reports no utilisation for it, which is absent."""
    part = StandInGpu(utilization_percent=Fault.NOT_SUPPORTED, memory_bytes=123, is_part=True)
    gpus.say(BUSY, part, cuda_order=(1,))
    with gpus.asking(SCRAPE, HANDLERS, "0") as ask:
        seen = scrape(ask)
    assert (seen.utilization_percent, seen.memory_bytes) == (None, 123)
    assert seen.logged == ["gpu_utilization_percent is left out of the metrics: Not Supported"]


@pytest.mark.parametrize(
    ("fault", "cuda_fault", "visible", "reason"),
    [
        (Fault.DRIVER_NOT_LOADED, 0, None, "no GPU metrics: Driver Not Loaded"),
        (
            Fault.LIB_RM_VERSION_MISMATCH,
            0,
            None,
            "no GPU metrics: RM has detected an NVML/RM version mismatch.",
        ),
        (None, NO_CUDA_DEVICE, None, "no GPU metrics: CUDA does not know GPU 0: error 100 of cuInit"),
        (None, 0, "", "no GPU metrics: CUDA does not know GPU 0: error 101 of cuDeviceGet"),
    ],
)
def test_a_gpu_that_cannot_be_found_is_absent(
    gpus: NvmlStandIn, fault: Fault | None, cuda_fault: int, visible: str | None, reason: str
) -> None:
    """Without driver or device there is no gauge, never 0, and one line in the log however often one asks."""
    gpus.say(BUSY, fault=fault, cuda_fault=cuda_fault)
    with gpus.asking(SCRAPE, HANDLERS, "0", visible=visible) as ask:
        for _ in range(3):
            assert scrape(ask) == Scrape(None, None, set(), [reason])


def test_what_cannot_be_read_is_left_out_and_comes_back(gpus: NvmlStandIn) -> None:
    """A figure that fails leaves the other alone, is logged once, and is back once it can be read."""
    broken = StandInGpu(utilization_percent=Fault.GPU_IS_LOST, memory_bytes=5)
    reason = "gpu_utilization_percent is left out of the metrics: GPU is lost"
    with gpus.asking(SCRAPE, HANDLERS, "0") as ask:
        for gpu, expected in ((BUSY, (37, [])), (broken, (None, [reason])), (BUSY, (37, [reason]))):
            gpus.say(gpu)
            seen = scrape(ask)
            assert (seen.utilization_percent, seen.logged) == expected
            assert seen.memory_bytes == gpu.memory_bytes


def test_a_driver_that_comes_later_is_found(gpus: NvmlStandIn) -> None:
    """A server that was up before the driver answered shows its GPU at the next scrape."""
    gpus.say(BUSY, fault=Fault.DRIVER_NOT_LOADED)
    with gpus.asking(SCRAPE, HANDLERS, "0") as ask:
        assert scrape(ask).utilization_percent is None
        gpus.say(BUSY)
        assert scrape(ask).utilization_percent == 37


def test_the_server_shows_them_on_its_page(gpus: NvmlStandIn, settings: Any) -> None:
    """An application whose engine runs on CUDA has both gauges among its metrics, with type and help."""
    gpus.say(BUSY)
    with gpus.asking(SERVED, HANDLERS, str(settings.model_path)) as ask:
        page = ask()
    assert "# TYPE gpu_utilization_percent gauge\n" in page
    assert 'gpu_utilization_percent{gpu="0"} 37.0\n' in page
    assert 'gpu_memory_used_bytes{gpu="0"} 3.221225472e+09\n' in page
