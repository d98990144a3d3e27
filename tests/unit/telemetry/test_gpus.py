"""Several GPUs of one server: each is read, and what is said of the server joins them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import Device
from pytest_servebench.telemetry.gpu_window import FIGURES, GpuReading
from pytest_servebench.telemetry.gpus import facts_of, joined
from tests.nvml_stand_in import Fault, NvmlStandIn, StandInGpu, build_nvml_stand_in, uuid_of

BESIDE = """
import json, os, sys
from dataclasses import asdict
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.options.given import Given, parse_device
from pytest_servebench.results import Endpoint
from pytest_servebench.telemetry.beside import machine_beside
clock = MonotonicClock()
device = parse_device(Given(flag="--serve-device", text=sys.argv[1]))
server = Endpoint(stack="s", host="127.0.0.1", ports={}, launcher="process", pid=int(sys.argv[2]))
for _ in sys.stdin:
    with machine_beside(server, device, clock) as reading:
        begin_ns = clock.now_ns()
        for _ in range(50):  # a busy machine takes its samples late
            clock.sleep_s(0.3)
            seen = reading((begin_ns, clock.now_ns()))
            if "no sample fell into the window" not in seen.absent.values():
                break
    print(json.dumps(asdict(seen)), flush=True)
"""
GPU = StandInGpu(
    name="NVIDIA H100 80GB HBM3",
    utilization_percent=40,
    memory_bytes=9 * 10**9,
    power_mw=300_000,
    power_limit_mw=700_000,
    power_default_mw=700_000,
    sm_clock_mhz=1980,
    sm_clock_max_mhz=1980,
    memory_clock_mhz=2619,
    temperature_c=61,
    throttle=0,
)
NAMES = tuple(FIGURES)


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> NvmlStandIn:
    """Return NVIDIA's libraries as they are without a GPU."""
    return build_nvml_stand_in(tmp_path_factory.mktemp("stand-in"))


def read(gpus: NvmlStandIn, device: str, pid: int, visible: str | None = None) -> dict[str, Any]:
    """Return the telemetry beside a load on ``device``, of the server with that process."""
    with gpus.asking(BESIDE, device, str(pid), visible=visible) as ask:
        found: dict[str, Any] = ask()
        return found


def test_figures_of_a_server_are_those_of_its_gpus_together(gpus: NvmlStandIn, server_pid: int) -> None:
    """Memory, power and energy are sums; the third GPU, which is not the server's, is in nothing."""
    other = replace(GPU, utilization_percent=80, memory_bytes=10**9, power_mw=100_000, temperature_c=70)
    foreign = replace(GPU, utilization_percent=1, power_mw=1, processes={99: 5})
    gpus.say(
        replace(GPU, processes={server_pid: 4 * 10**9}),
        foreign,
        replace(other, sm_clock_mhz=1500, processes={server_pid: 10**8, 98: 10**7}),
    )
    seen = read(gpus, "cuda:0,2", server_pid)
    assert (seen["gpu_name"], seen["gpu_scope"]) == ("2 x NVIDIA H100 80GB HBM3", "processes")
    assert (seen["gpu_utilization_percent"], seen["gpu_memory_bytes"]) == (60, 10 * 10**9)
    assert (seen["gpu_process_memory_bytes"], seen["gpu_other_memory_bytes"]) == (41 * 10**8, 10**7)
    assert (seen["gpu_shared_with"], seen["gpu_other_pids"]) == (1, [98])
    assert (seen["gpu_power_w"], seen["gpu_power_limit_w"]) == (pytest.approx(400), 1400)
    assert seen["gpu_energy_j"] == pytest.approx(sum(one["gpu_energy_j"] for one in seen["gpus"].values()))
    assert (seen["gpu_sm_clock_mhz"], seen["gpu_temperature_c"]) == (1500, 70)
    assert seen["warnings"][0] == (
        "cuda:2: the GPU is shared with 1 other process: 0.0 GB of its memory are theirs"
    )
    each = seen["gpus"]
    assert list(each) == ["cuda:0", "cuda:2"]
    assert [one["gpu_utilization_percent"] for one in each.values()] == [40, 80]
    assert [one["gpu_shared_with"] for one in each.values()] == [0, 1]


@pytest.fixture
def server_pid() -> int:
    """Return a process that is there and is not the one that reads: the test's own."""
    return os.getpid()


def test_one_gpu_has_its_figures_and_no_list(gpus: NvmlStandIn, server_pid: int) -> None:
    """The record of one GPU says nothing twice."""
    gpus.say(replace(GPU, processes={server_pid: 5}))
    seen = read(gpus, "cuda:0", server_pid)
    assert (seen["gpu_name"], seen["gpus"]) == ("NVIDIA H100 80GB HBM3", {})
    assert seen["gpu_power_w"] == pytest.approx(300)


def test_what_one_gpu_does_not_say_is_absent_for_the_server(gpus: NvmlStandIn, server_pid: int) -> None:
    """A sum of those that do would be too small; each one's own figure is there all the same."""
    mute = replace(GPU, power_mw=Fault.NOT_SUPPORTED, processes={server_pid: 5})
    gpus.say(replace(GPU, processes={server_pid: 5}), mute)
    seen = read(gpus, "cuda:0,1", server_pid)
    assert (seen["gpu_power_w"], seen["gpu_energy_j"], seen["gpu_energy_source"]) == (None, None, None)
    assert seen["absent"]["gpu_power_w"] == "cuda:1: the GPU cannot be read: Not Supported"
    assert seen["gpus"]["cuda:0"]["gpu_power_w"] == pytest.approx(300)
    assert seen["gpus"]["cuda:1"]["absent"]["gpu_power_w"] == "the GPU cannot be read: Not Supported"
    assert seen["gpu_memory_bytes"] == 18 * 10**9


def test_a_gpu_that_the_server_is_not_on_is_told(gpus: NvmlStandIn, server_pid: int) -> None:
    """A server that was given two GPUs and computes on one is no server over two."""
    gpus.say(replace(GPU, processes={server_pid: 5}), GPU)
    seen = read(gpus, "cuda:0,1", server_pid)
    assert "cuda:1: no process of the server was found on it, but on cuda:0" in seen["warnings"]
    assert (seen["gpu_scope"], seen["gpu_process_memory_bytes"]) == ("device", None)


def test_gpus_are_those_that_servers_see(gpus: NvmlStandIn, server_pid: int) -> None:
    """``cuda:0,1`` count in CUDA_VISIBLE_DEVICES, by slot or UUID, in its order."""
    gpus.say(*(replace(GPU, utilization_percent=10 * i, processes={server_pid: 5}) for i in range(3)))
    seen = read(gpus, "cuda:0,1", server_pid, visible=f"GPU-{uuid_of(2)},0")
    assert [one["gpu_utilization_percent"] for one in seen["gpus"].values()] == [20, 0]


def test_what_somebody_set_is_told(gpus: NvmlStandIn, server_pid: int) -> None:
    """A power limit below the default, and clocks that are set: the figures are those of such a GPU."""
    held = replace(GPU, power_limit_mw=500_000, throttle=0x2, sm_clock_mhz=1410)
    gpus.say(replace(held, processes={server_pid: 5}))
    seen = read(gpus, "cuda:0", server_pid)
    assert seen["warnings"][:2] == [
        "the power limit is set to 500 W, by default it is 700 W",
        "clocks are set: 1410 MHz, of 1980 MHz that the GPU can have",
    ]
    assert seen["gpu_throttle"] == {"applications_clocks_setting": 1.0}


def test_a_joined_reading_of_nothing_has_every_reason() -> None:
    """Of GPUs that cannot be read every figure is absent, with the reason of each."""
    lost = GpuReading(absent=dict.fromkeys(FIGURES, "GPU is lost"))
    found = joined({"cuda:0": lost, "cuda:1": lost})
    assert dict(found.absent) == dict.fromkeys(NAMES, "cuda:0: GPU is lost; cuda:1: GPU is lost")
    assert not any(found.figures[name] for name in NAMES)
    assert joined({"cuda:3": lost}) is lost
    assert facts_of({"cuda:3": lost}) == {}


def test_kinds_of_gpus_are_counted() -> None:
    """A name for each kind; unknown where one has none."""
    one, other, nameless = (GpuReading(gpu_name=name) for name in ("A", "B", None))
    assert joined({"cuda:0": one, "cuda:1": other, "cuda:2": one}).gpu_name == "2 x A and 1 x B"
    assert joined({"cuda:0": one, "cuda:1": nameless}).gpu_name is None


def test_no_setting_of_a_gpu_is_ever_touched() -> None:
    """Of NVML's functions only those are called that ask; no clock, limit or mode is set or reset."""
    folders = (Path(shipped("handlers")), Path(__file__).parents[3] / "pytest_servebench")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    called = {word for source in sources for word in re.findall(r"\bnvml[A-Z]\w+", source)}
    called -= {"nvmlClocksEventReasons"}
    assert {"nvmlInit", "nvmlDeviceGetPowerUsage"} < called
    assert {word for word in called if not re.match("nvmlInit$|nvml(Device|System)Get", word)} == set()


def test_a_device_says_its_gpus() -> None:
    """What a record holds as ``device`` is what a user types."""
    assert str(Device("cuda", 0, (1,))) == "cuda:0,1"
    assert Device("cuda", 2, (3, 5)).indexes == (2, 3, 5)
