"""A whole session on a machine whose GPU is a stand-in: what NVML says reaches JSON, table and notes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.figures import FIGURES
from tests.nvml_stand_in import StandInGpu, build_nvml_stand_in
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

USABLE = """
from pytest_servebench import surroundings
surroundings._cuda_packages = lambda: True  # echo computes on no GPU; all else is as on a machine with one
"""
SPEED_ON_GPU = """
import os, time
from pathlib import Path
import pytest
from tests.nvml_stand_in import Course, NvmlStandIn, StandInGpu

GPUS = NvmlStandIn(Path(os.environ["SERVEBENCH_STAND_IN_GPUS"]).parent)

@pytest.mark.servebench(concurrency=2)
def test_speed(servebench, case):
    server = servebench.up(case).pid
    GPUS.say(StandInGpu(
        name="NVIDIA Stand-In 9000",
        utilization_percent=64,
        memory_bytes=4 * 10**9,
        energy_mj=Course(((time.monotonic_ns(), 5e9, 250_000),)),
        power_mw=250_000,
        power_limit_mw=300_000,
        sm_clock_mhz=2100,
        memory_clock_mhz=9501,
        temperature_c=71,
        throttle=0x4,
        processes={server: 3 * 10**9, 1: 5 * 10**8},
    ))
    servebench.measure(case)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite on a machine with one GPU."""
    stand_in = build_nvml_stand_in(pytester.mkdir("nvidia"))
    stand_in.say(StandInGpu(name="NVIDIA Stand-In 9000"))
    for name, value in stand_in.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return echo_suite(pytester, monkeypatch)


def test_what_the_gpu_says_is_in_the_record_and_under_the_table(suite: EchoSuite) -> None:
    """Use, memory, power, energy per image, clocks and who else was there; and warnings in words."""
    suite.write(test=SPEED_ON_GPU, more=USABLE)
    result = suite.run_apart("--stack=echo", ONNX, "--serve-device=cuda", "--serve-duration=1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "servebench device: cuda:0 (*",
            "*mJ per*",
            "warning: test_speed echo *: the GPU is shared with 1 other process: 0.5 GB of its*",
            "warning: test_speed echo *: clocks were held down by the power limit (sw_power_cap)*",
        ]
    )
    (record,) = suite.records.values()
    seen = record["telemetry"]
    assert {name: seen[name] for name in EXPECTED} == EXPECTED
    assert seen["gpu_energy_j"] == pytest.approx(250 * record["window_s"], rel=0.5)
    assert seen["joules_per_image"] == pytest.approx(seen["gpu_energy_j"] / record["counts"]["correct"])
    assert FIGURES["energy"].of(record) == seen["joules_per_image"]
    assert seen["server_cpu_s"] is not None
    assert seen["client_cpu_s"] is not None
    assert (record["figures"]["gpu_utilization"], record["figures"]["memory_usage_gb"]) == (64, 4)
    assert record["validity"] == "valid"


EXPECTED: dict[str, Any] = {
    "gpu_name": "NVIDIA Stand-In 9000",
    "gpu_scope": "processes",
    "gpu_utilization_percent": 64.0,
    "gpu_memory_bytes": 4 * 10**9,
    "gpu_process_memory_bytes": 3 * 10**9,
    "gpu_shared_with": 1,
    "gpu_other_pids": [1],
    "gpu_other_memory_bytes": 5 * 10**8,
    "gpu_power_w": pytest.approx(250),
    "gpu_power_limit_w": 300.0,
    "gpu_energy_source": "counter",
    "gpu_sm_clock_mhz": 2100.0,
    "gpu_memory_clock_mhz": 9501.0,
    "gpu_temperature_c": 71.0,
    "gpu_throttle": {"sw_power_cap": 1.0},
    "server_scope": "process_tree",
    "server_memory_kind": "pss",
}


def test_nothing_is_said_of_a_gpu_that_is_not_used(suite: EchoSuite) -> None:
    """On the CPU every figure of the GPU is absent with that reason, though the machine has one."""
    suite.write()
    suite.run_apart("--stack=echo", ONNX, "--serve-device=cpu").assert_outcomes(passed=2)
    (record,) = suite.records.values()
    seen = record["telemetry"]
    assert (seen["gpu_energy_j"], seen["gpu_scope"], seen["gpu_shared_with"]) == (None, None, None)
    assert seen["absent"]["gpu_energy_j"] == "the model runs on cpu"
    assert seen["absent"]["joules_per_image"] == "the model runs on cpu"
