"""A local Triton takes memory on no GPU but its model's: others measure there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.plan import CPU, Deployment, Device, ModelFormat
from pytest_servebench.stacks import triton
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.stacks.triton_own_gpus import MOST_GPUS, own_gpus_flags
from pytest_servebench.stacks.triton_wheel import Interpreter, TritonWheel
from tests.unit.stacks.unopened import unopened_artifact

ON_CPU = Deployment(stack="triton", model="tiny", format=ModelFormat.ONNX, device=CPU)
POOL, PINNED = "--cuda-memory-pool-byte-size", "--pinned-memory-pool-byte-size=0"


def flags(*devices: Device) -> tuple[str, ...]:
    """Return what a server of one model on each of these devices is told."""
    return own_gpus_flags([replace(ON_CPU, device=device) for device in devices])


@pytest.mark.parametrize(
    ("device", "own"),
    [(Device("cuda", 0), {0}), (Device("cuda", 3), {3}), (Device("cuda", 1, (2,)), {1, 2})],
)
def test_pools_are_on_its_own_gpus_alone(device: Device, own: set[int]) -> None:
    """Every other one has none; GPUs are not opened to each other, which takes a context on each."""
    told = flags(device)
    assert told[0] == "--enable-peer-access=false"
    without = {int(one.split("=")[1].partition(":")[0]) for one in told if one.startswith(POOL)}
    assert without == set(range(MOST_GPUS)) - own
    assert all(one.endswith(":0") for one in told if one.startswith(POOL))


def test_pinned_memory_takes_a_context_on_the_first_gpu_where_that_is_its_own() -> None:
    """CUDA pins memory on the current GPU, which is the first."""
    assert PINNED in flags(Device("cuda", 1))
    assert PINNED not in flags(Device("cuda", 0))
    assert PINNED not in flags(Device("cuda", 1), Device("cuda", 0))


def test_a_server_on_a_cpu_sees_no_gpu(
    monkeypatch: pytest.MonkeyPatch, wheel: TritonWheel, interpreter: Interpreter, tmp_path: Any
) -> None:
    """It has no flags and GPUs are hidden from it; one on a GPU has flags, and sees what the session sees."""
    monkeypatch.setattr(triton, "find_wheel", lambda: wheel)
    monkeypatch.setattr(triton, "running_interpreter", lambda: interpreter)
    artifacts = {"tiny_onnx": unopened_artifact(tmp_path, ON_CPU)}
    on_cpu = Triton().launch_spec([ON_CPU], artifacts)
    on_gpu = Triton().launch_spec([replace(ON_CPU, device=Device("cuda", 1))], artifacts)
    assert on_gpu.argv == (*on_cpu.argv, *flags(Device("cuda", 1)))
    assert flags(CPU) == ()
    assert on_cpu.environment["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in on_gpu.environment
