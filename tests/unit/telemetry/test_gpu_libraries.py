"""GPU telemetry through the real nvidia-ml-py, on libraries that stand in for NVIDIA's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nvml_stand_in import Fault, NvmlStandIn, StandInGpu, build_nvml_stand_in

WINDOWS = """
import json, sys
from pytest_servebench.telemetry.gpu import GpuProbe
from tests.jumping_clock import JumpingClock
clock = JumpingClock()
probe = GpuProbe(int(sys.argv[1]), clock)
for _ in sys.stdin:
    begin_ns = clock.now_ns()
    goes_on = probe.sample()
    reading = probe.window(begin_ns, clock.now_ns())
    clock.sleep_s(1)
    figures = [reading.utilization_percent, reading.memory_bytes]
    print(json.dumps([figures, dict(reading.absent), goes_on]), flush=True)
"""
NAMES = """
import json, sys
from pytest_servebench.telemetry.gpu import gpu_names
for _ in sys.stdin:
    gpus = gpu_names()
    print(json.dumps([gpus.names, gpus.driver, gpus.absent]), flush=True)
"""
USE, MEMORY = "gpu_utilization_percent", "gpu_memory_bytes"


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> NvmlStandIn:
    """Return NVIDIA's libraries as they are without a GPU."""
    return build_nvml_stand_in(tmp_path_factory.mktemp("stand-in"))


def test_reads_the_device_that_was_asked_for(gpus: NvmlStandIn) -> None:
    """Utilisation and memory are those of the one device, and change as it does."""
    other = StandInGpu(utilization_percent=99, memory_bytes=99)
    gpus.say(other, other)
    with gpus.asking(WINDOWS, "1") as ask:
        for percent, memory_bytes in ((37, 3 * 2**30), (0, 0), (100, 80 * 2**30)):
            own = StandInGpu(
                utilization_percent=percent, memory_bytes=memory_bytes, memory_total_bytes=80 * 2**30
            )
            gpus.say(other, own)
            assert ask() == [[percent, memory_bytes], {}, True]


@pytest.mark.parametrize(
    ("gpu", "figures", "absent", "goes_on"),
    [
        (
            StandInGpu(utilization_percent=Fault.NOT_SUPPORTED, memory_bytes=5),
            [None, 5],
            {USE: "the GPU cannot be read: Not Supported"},
            True,
        ),
        (
            StandInGpu(utilization_percent=7, memory_bytes=Fault.NO_PERMISSION),
            [7.0, None],
            {MEMORY: "the GPU cannot be read: Insufficient Permissions"},
            True,
        ),
        (
            StandInGpu(utilization_percent=Fault.GPU_IS_LOST, memory_bytes=Fault.GPU_IS_LOST),
            [None, None],
            dict.fromkeys((MEMORY, USE), "the GPU cannot be read: GPU is lost"),
            False,
        ),
    ],
)
def test_what_a_gpu_does_not_report_is_absent_alone(
    gpus: NvmlStandIn, gpu: StandInGpu, figures: list[Any], absent: dict[str, str], goes_on: bool
) -> None:
    """A figure that NVML refuses is None with NVML's reason; the other is read on, and nothing raises."""
    gpus.say(gpu)
    with gpus.asking(WINDOWS, "0") as ask:
        for _ in range(2):
            assert ask() == [figures, absent, goes_on]


@pytest.mark.parametrize(
    ("fault", "index", "reason"),
    [
        (Fault.DRIVER_NOT_LOADED, 0, "no NVIDIA driver: Driver Not Loaded"),
        (None, 1, "no GPU 1: Invalid Argument"),
    ],
)
def test_a_gpu_that_is_not_there_has_reasons(
    gpus: NvmlStandIn, fault: Fault | None, index: int, reason: str
) -> None:
    """No driver and no such device are told apart, for both figures."""
    gpus.say(StandInGpu(), fault=fault)
    with gpus.asking(WINDOWS, str(index)) as ask:
        assert ask() == [[None, None], dict.fromkeys((MEMORY, USE), reason), False]


def test_names_and_driver_are_nvmls(gpus: NvmlStandIn) -> None:
    """The machine's facts hold every GPU's name, and say why there is none."""
    with gpus.asking(NAMES) as ask:
        gpus.say(StandInGpu(name="NVIDIA GeForce RTX 4090"), StandInGpu(name="NVIDIA H100"))
        assert ask() == [["NVIDIA GeForce RTX 4090", "NVIDIA H100"], "550.54", ""]
        gpus.say()
        assert ask() == [[], "550.54", "the NVIDIA driver sees no GPU"]
