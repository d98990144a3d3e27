"""Whole sessions on a machine whose two GPUs are stand-ins: one server over both, and one server on each."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from tests.nvml_stand_in import StandInGpu, build_nvml_stand_in
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

STACKS = "Echo(), ControlledEcho()"
USABLE = """
import os
from pathlib import Path
from pytest_servebench import surroundings

surroundings._cuda_packages = lambda: True  # echo computes on no GPU; all else is as on a machine with two

def pytest_servebench_gate(result):
    begin_ns, end_ns = result.samples.window_ns
    with open(Path(__file__).parent / "windows", "a") as file:
        file.write(f"[{begin_ns}, {end_ns}]\\n")
"""
GPUS = (
    StandInGpu(name="NVIDIA Stand-In 9000", utilization_percent=30, memory_bytes=10**9, power_mw=100_000),
    StandInGpu(name="NVIDIA Stand-In 9000", utilization_percent=90, memory_bytes=4 * 10**9, power_mw=300_000),
)
BOTH = ("--stack=echo,controlled", ONNX, "-n2")
LIMITS = """
[profiles.one]
gpu_name = "Stand-In 9000"

[profiles.two]
gpu_name = "Stand-In 9000"
gpus = 2

[[limits]]
profile = "one"
images_per_s = 1_000_000

[[limits]]
profile = "two"
p95_ms = 60000
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite of two stacks on a machine with two GPUs."""
    stand_in = build_nvml_stand_in(pytester.mkdir("nvidia"))
    stand_in.say(*GPUS)
    for name, value in stand_in.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    suite = echo_suite(pytester, monkeypatch)
    suite.write(stacks=STACKS, more=USABLE)
    return suite


def windows(suite: EchoSuite) -> list[list[int]]:
    """Return the measured windows of all workers."""
    lines = (suite.pytester.path / "windows").read_text(encoding="ascii").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("device", ["cuda:0,1", "cuda:all"])
def test_one_server_over_both(suite: EchoSuite, device: str) -> None:
    """The header, the lane and the record name both, and figures are of both, with each one's."""
    (suite.pytester.path / "thresholds.toml").write_text(LIMITS, encoding="utf-8")
    result = suite.run_apart("--stack=echo", ONNX, f"--serve-device={device}", "--serve-duration=1")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["servebench device: cuda:0,1 (asked for *", "*cuda:0,1*"])
    (record,) = suite.records.values()
    seen: dict[str, Any] = record["telemetry"]
    assert (record["device"], record["case"]["device"], record["lane"]) == ("cuda:0,1",) * 3
    assert (seen["gpu_name"], seen["gpu_utilization_percent"]) == ("2 x NVIDIA Stand-In 9000", 60)
    assert (seen["gpu_memory_bytes"], seen["gpu_power_w"]) == (5 * 10**9, pytest.approx(400))
    each = seen["gpus"]
    assert {gpu: figures["gpu_power_w"] for gpu, figures in each.items()} == {
        "cuda:0": pytest.approx(100),
        "cuda:1": pytest.approx(300),
    }
    assert seen["gpu_energy_j"] == pytest.approx(sum(figures["gpu_energy_j"] for figures in each.values()))
    assert record["figures"]["memory_usage_gb"] == 5
    assert record["images_per_s_per_gpu"] == pytest.approx(record["images_per_s"] / 2)
    result.stdout.fnmatch_lines(["*per GPU*"])
    # The profile of one GPU, whose limit nobody holds, does not judge it.
    assert record["verdict"]["judgement"] == "pass"


def test_one_server_on_each(suite: EchoSuite) -> None:
    """Workers take the GPUs in turn, and each case has the figures of its own."""
    suite.run_apart(*BOTH, "--serve-device=cuda", "--serve-duration=1").assert_outcomes(passed=3)
    seen = {
        (one["device"], one["lane"], one["telemetry"]["gpu_utilization_percent"])
        for one in suite.records.values()
    }
    assert seen == {("cuda:0", "cuda:0", 30), ("cuda:1", "cuda:1", 90)}
    assert all(one["telemetry"]["gpus"] == {} for one in suite.records.values())


def test_workers_on_both_take_turns(suite: EchoSuite) -> None:
    """A server over both GPUs is measured beside no other: each holds them all, exclusively."""
    suite.run_apart(*BOTH, "--serve-device=cuda:all").assert_outcomes(passed=3)
    assert {one["lane"] for one in suite.records.values()} == {"cuda:0,1"}
    assert {one["worker"] for one in suite.records.values()} == {"gw0", "gw1"}
    found = windows(suite)
    assert len(found) == 2
    assert not [pair for pair in combinations(found, 2) if max(pair)[0] < min(pair)[1]]


def test_a_gpu_that_is_not_there_is_told_before_anything_runs(suite: EchoSuite) -> None:
    """A usage error that names which, and those that are there."""
    result = suite.run_apart("--stack=echo", ONNX, "--serve-device=cuda:0,2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --serve-device is cuda:0,2, of which cuda:2 is not there*"])
