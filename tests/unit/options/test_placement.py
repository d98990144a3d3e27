"""Launcher and device, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.leasing.lanes import Gpu
from pytest_servebench.options.placement import Surroundings, hardware_of
from pytest_servebench.plan import CPU, Device, LauncherKind, MissingPiece
from tests.asking import DOCKER, NO_GPU, ONE_GPU, TWO_GPUS, offers, plan
from tests.offered_stack import (
    ONNX,
    TRITON,
)


def test_without_docker_and_gpu_it_is_a_process_on_the_cpu_and_says_why() -> None:
    """The automatic choices come with the reason that the header prints."""
    chosen = plan(stack="all")
    assert (chosen.launcher, chosen.launcher_reason) == (LauncherKind.PROCESS, "no Docker engine answers")
    assert (chosen.device, chosen.device_reason) == (CPU, "the NVIDIA driver is not installed")


@pytest.mark.parametrize(
    ("surroundings", "launcher", "reason"),
    [
        (DOCKER, LauncherKind.DOCKER, "the Docker engine answers and offers an NVIDIA runtime"),
        (
            replace(DOCKER, nvidia_runtime=False),
            LauncherKind.PROCESS,
            "the Docker engine offers no NVIDIA runtime",
        ),
    ],
)
def test_auto_takes_docker_only_where_it_is_whole(
    surroundings: Surroundings,
    launcher: LauncherKind,
    reason: str,
) -> None:
    """An automatic choice is never the one that fails."""
    chosen = plan(surroundings, stack="all")
    assert (chosen.launcher, chosen.launcher_reason) == (launcher, reason)


def test_docker_that_cannot_be_had_is_an_error() -> None:
    """Asking for docker never ends in something smaller."""
    with pytest.raises(PlanError) as caught:
        plan(NO_GPU, stack="all", launcher="docker")
    assert caught.value.what == "--serve-launcher is docker, but no Docker engine can be used"
    assert caught.value.seen == "no Docker engine answers"
    assert caught.value.next_step == (
        "start the engine, install the package docker if that is missing, or use one of: auto, process"
    )


def test_attach_is_not_a_launcher_that_one_asks_for() -> None:
    """The launcher's words are auto, process and docker."""
    with pytest.raises(PlanError, match="use one of: auto, process, docker"):
        plan(stack="all", launcher="attach")


def test_when_every_stack_has_a_url_nothing_is_launched() -> None:
    """Attached servers need no launcher, no packages and no device here."""
    bare = offers(replace(TRITON, lacks={ONNX: MissingPiece(what="x", remedy="y")}))
    chosen = plan(offered=bare, stack="triton=http://h:1")
    assert chosen.launcher is LauncherKind.ATTACH
    assert chosen.stacks == ("triton",)
    assert chosen.attached == {"triton": "http://h:1"}
    assert "attached server chose its own" in chosen.device_reason
    assert hardware_of(chosen, "triton", NO_GPU) is None


def test_auto_takes_the_first_gpu_that_can_be_used() -> None:
    """A GPU that the installed packages cannot use is passed over, with the reason."""
    assert plan(ONE_GPU, stack="triton").device == Device("cuda", 0)
    unusable = replace(ONE_GPU, cuda_unusable="onnxruntime has no CUDA provider")
    chosen = plan(unusable, stack="triton")
    assert chosen.device == CPU
    assert chosen.device_reason.startswith("onnxruntime has no CUDA provider; what that needs")
    assert chosen.device_reason.endswith("servebench doctor --device=cuda")


@pytest.mark.parametrize("asked", [{}, {"device": "cuda"}, {"device": "cuda:0"}], ids=str)
def test_gpus_are_counted_among_those_that_servers_see(asked: dict[str, Any]) -> None:
    """cuda:0 is the first that CUDA_VISIBLE_DEVICES names, as the plan says; others know it by its UUID."""
    told = replace(ONE_GPU, cuda_uuids=("GPU-b",), cuda_slots=(1,), cuda_visible="1")
    chosen = plan(told, stack="triton", **asked)
    assert chosen.device == Device("cuda", 0)
    assert chosen.device_reason.endswith(", counted in CUDA_VISIBLE_DEVICES=1")
    assert chosen.lane.gpus == (Gpu(0, "GPU-b", 1),)
    assert chosen.lane.gpus[0].key == "GPU-b"
    assert Gpu(0, slot=1).key == "1"
    assert "VISIBLE" not in plan(told, stack="triton", device="cpu").device_reason


def test_in_a_container_the_packages_out_here_do_not_matter() -> None:
    """With docker the image's packages decide, so a CPU-only client still uses the GPU."""
    assert plan(replace(DOCKER, cuda_unusable="torch is a CPU build"), stack="all").device.kind == "cuda"


@pytest.mark.parametrize(
    ("surroundings", "device", "message"),
    [
        (NO_GPU, "cuda", "is cuda, but no GPU can be used[\\s\\S]*seen: the NVIDIA driver is not"),
        (
            ONE_GPU,
            "cuda:1",
            "is cuda:1, which is not there[\\s\\S]*cpu, cuda:0 \\(NVIDIA GeForce RTX 4090\\)",
        ),
        (
            TWO_GPUS,
            "cuda:1,2,5",
            "is cuda:1,2,5, of which cuda:2, cuda:5 are not there[\\s\\S]*cpu, cuda:0 \\(",
        ),
        (
            replace(ONE_GPU, cuda_unusable="no CUDA provider"),
            "cuda",
            "is cuda, [\\s\\S]*seen: no CUDA provider[\\s\\S]*next: [\\s\\S]*servebench doctor",
        ),
    ],
)
def test_a_gpu_that_cannot_be_had_is_an_error(surroundings: Surroundings, device: str, message: str) -> None:
    """Asking for a GPU never ends on the CPU, and the error leads to what installs the missing piece."""
    with pytest.raises(PlanError, match=f"--serve-device {message}"):
        plan(surroundings, stack="triton", device=device)


def test_hardware_names_the_gpu_of_the_plan() -> None:
    """Threshold profiles see the device that the plan computes on."""
    hardware = hardware_of(plan(ONE_GPU, stack="triton"), "triton", ONE_GPU)
    assert hardware is not None
    assert (hardware.device.kind, hardware.gpu_names) == ("cuda", ("NVIDIA GeForce RTX 4090",))
    assert str(hardware) == "cuda:0 (NVIDIA GeForce RTX 4090), 16 logical cores"
    on_cpu = hardware_of(plan(ONE_GPU, stack="triton", device="cpu"), "triton", ONE_GPU)
    assert on_cpu is not None
    assert on_cpu.gpu_names == ()


def test_what_was_asked_for_and_is_there_is_taken() -> None:
    """The reason for an explicit choice is where it was made."""
    chosen = plan(DOCKER, stack="all", launcher="docker", device="cuda:0")
    assert (chosen.launcher, chosen.launcher_reason) == (LauncherKind.DOCKER, "asked for (command line)")
    assert (chosen.device, chosen.device_reason) == (Device("cuda", 0), "asked for (command line)")


def test_an_engine_without_the_nvidia_runtime_gives_no_gpu_to_containers() -> None:
    """Docker and CUDA together need the runtime, whatever is installed out here; the error says how."""
    with pytest.raises(PlanError) as caught:
        plan(replace(DOCKER, nvidia_runtime=False), stack="all", launcher="docker", device="cuda")
    assert caught.value.what == "--serve-device is cuda, but no GPU can be used"
    assert caught.value.seen == "the Docker engine offers no NVIDIA runtime"
    assert caught.value.next_step.startswith(
        "install the package nvidia-container-toolkit, then run nvidia-ctk"
    )


def test_docker_goes_on_without_a_gpu_where_the_device_is_its_to_choose() -> None:
    """Asked for docker and no device, an engine without the runtime serves on the CPU, and says why."""
    chosen = plan(replace(DOCKER, nvidia_runtime=False), stack="all", launcher="docker")
    assert (chosen.launcher, chosen.device) == (LauncherKind.DOCKER, CPU)
    assert chosen.device_reason == "the Docker engine offers no NVIDIA runtime"


@pytest.mark.parametrize("asked", [{}, {"device": "auto"}, {"device": "cuda"}], ids=str)
def test_workers_take_gpus_in_turn(asked: dict[str, Any]) -> None:
    """``cuda`` and ``auto`` are any GPU: worker k has number k, counted round and round."""
    plans = [plan(replace(TWO_GPUS, turn=turn), stack="triton", **asked) for turn in range(3)]
    assert [one.device.index for one in plans] == [0, 1, 0]
    assert [one.lane.gpus for one in plans] == [(Gpu(i, f"GPU-{name}"),) for i, name in enumerate("ab")] + [
        (Gpu(0, "GPU-a"),)
    ]
    hardware = hardware_of(plans[1], "triton", TWO_GPUS)
    assert hardware is not None
    assert hardware.gpu_names == ("NVIDIA GeForce RTX 3060",)
    assert "auto" not in asked.values() or plans[1].device_reason == "found NVIDIA GeForce RTX 3060"


def test_a_gpu_that_was_named_is_everybodys() -> None:
    """``cuda:1`` is that one for all workers, and their lane."""
    plans = [plan(replace(TWO_GPUS, turn=turn), stack="triton", device="cuda:1") for turn in range(2)]
    assert [(one.device, one.lane.name) for one in plans] == [(Device("cuda", 1), "cuda:1")] * 2


@pytest.mark.parametrize("device", ["cuda:0,1", "cuda:1,0", "cuda:all"])
def test_one_server_over_several_gpus_is_one_lane(device: str) -> None:
    """Whichever worker asks, its servers compute on all that were named, and nobody else has one of them."""
    plans = [plan(replace(TWO_GPUS, turn=turn), stack="triton", device=device) for turn in range(2)]
    for chosen in plans:
        assert (chosen.device, str(chosen.device)) == (Device("cuda", 0, (1,)), "cuda:0,1")
        assert (chosen.lane.name, chosen.lanes) == ("cuda:0,1", (chosen.lane,))
        assert chosen.lane.gpus == (Gpu(0, "GPU-a"), Gpu(1, "GPU-b"))
    hardware = hardware_of(plans[0], "triton", TWO_GPUS)
    assert str(hardware) == "cuda:0,1 (NVIDIA GeForce RTX 4090, NVIDIA GeForce RTX 3060), 16 logical cores"


def test_all_of_one_gpu_is_that_one() -> None:
    """``cuda:all`` counts what servers see, and is an error where there is none."""
    assert plan(ONE_GPU, stack="triton", device="cuda:all").device == Device("cuda", 0)
    with pytest.raises(PlanError, match="--serve-device is cuda:all, but no GPU can be used"):
        plan(NO_GPU, stack="triton", device="cuda:all")


def test_gpus_and_cores_go_together() -> None:
    """A worker with a GPU and a set of cores leaves the others theirs."""
    chosen = plan(replace(TWO_GPUS, turn=1), stack="triton", cpu_sets="0-7/8-15")
    assert (chosen.lane.name, chosen.device, chosen.threads) == ("cuda:1 cores 8-15", Device("cuda", 1), 8)


@pytest.mark.parametrize(
    "asked",
    [{"stack": "triton", "device": "cpu"}, {"stack": "triton=http://h:1", "device": "cuda:1"}],
    ids=str,
)
def test_without_gpus_of_ours_the_machine_is_the_lane(asked: dict[str, Any]) -> None:
    """On the CPU, and with a server whose device nobody here knows, one is measured at a time."""
    assert plan(TWO_GPUS, **asked).lane.is_whole
