"""GPU telemetry through the real nvidia-ml-py, on libraries that stand in for NVIDIA's."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from tests.nvml_stand_in import Course, Fault, NvmlStandIn, StandInGpu, build_nvml_stand_in, uuid_of

WINDOWS = """
import json, sys
from pytest_servebench.telemetry.gpu import GpuProbe
from tests.jumping_clock import JumpingClock
clock = JumpingClock()
probe = GpuProbe(int(sys.argv[1]), clock)
for _ in sys.stdin:
    begin_ns = clock.now_ns()
    goes_on = probe.sample()
    clock.sleep_s(1)
    reading = probe.window(begin_ns, clock.now_ns())
    clock.sleep_s(1)
    figures = [reading.gpu_utilization_percent, reading.gpu_memory_bytes]
    absent = {name: reading.absent[name] for name in sys.argv[2:] if name in reading.absent}
    print(json.dumps([figures, absent, goes_on]), flush=True)
"""
READINGS = """
import json, os, sys
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.telemetry.gpu import GpuProbe
from pytest_servebench.telemetry.gpu_devices import visible_devices
clock = MonotonicClock()
pids = frozenset(map(int, sys.argv[1:]))
probe = GpuProbe(0, clock, visible=visible_devices(), pids=lambda: pids)
probe.sample()
probe.survey()
begin_ns = clock.now_ns()
for line in sys.stdin:
    probe.sample()
    probe.survey()
    end_ns = clock.now_ns()
    reading = probe.window(begin_ns, end_ns)
    told = {"name": probe.name, "scope": probe.scope, "split": probe.is_split, "absent": dict(reading.absent),
            "window_s": (end_ns - begin_ns) / 1e9, "own": os.getpid()}
    print(json.dumps({**reading.figures, **told}), flush=True)
"""
NAMES = """
import json, sys
from pytest_servebench.telemetry.gpu_devices import gpu_names
for _ in sys.stdin:
    gpus = gpu_names()
    print(json.dumps([gpus.names, gpus.driver, gpus.absent]), flush=True)
"""
PARTS = """
import json, sys
from docker.types import HostConfig
from pytest_servebench.launchers.docker.request import gpu_requests
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.plan import Device
from pytest_servebench.telemetry.gpu_devices import gpu_names, visible_devices
for _ in sys.stdin:
    seen = gpu_names(visible=visible_devices())
    told = {"cuda_devices": seen.names, "cuda_uuids": seen.uuids, "cuda_slots": seen.slots}
    (gpu,) = Surroundings(logical_cores=1, **told).gpus
    asked = gpu_requests(Device("cuda", gpu.machine_index), gpu.uuid if gpu.is_part else "")
    host = HostConfig(version="1.43", device_requests=asked)
    print(json.dumps([gpu.index, gpu.machine_index, host["DeviceRequests"]]), flush=True)
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
    with gpus.asking(WINDOWS, "1", USE, MEMORY) as ask:
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
    with gpus.asking(WINDOWS, "0", USE, MEMORY) as ask:
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
    with gpus.asking(WINDOWS, str(index), USE, MEMORY) as ask:
        assert ask() == [[None, None], dict.fromkeys((MEMORY, USE), reason), False]


def test_names_and_driver_are_nvmls(gpus: NvmlStandIn) -> None:
    """The machine's facts hold every GPU's name, and say why there is none."""
    with gpus.asking(NAMES) as ask:
        gpus.say(StandInGpu(name="NVIDIA GeForce RTX 4090"), StandInGpu(name="NVIDIA H100"))
        assert ask() == [["NVIDIA GeForce RTX 4090", "NVIDIA H100"], "550.54", ""]
        gpus.say()
        assert ask() == [[], "550.54", "the NVIDIA driver sees no GPU"]


def flat(per_s: float, start: float = 0.0) -> Course:
    """Return a figure that grows evenly from now on."""
    return Course(((time.monotonic_ns(), start, per_s),))


WHOLE = StandInGpu(
    utilization_percent=40,
    memory_bytes=9 * 10**9,
    power_mw=300_000,
    power_limit_mw=450_000,
    power_default_mw=480_000,
    sm_clock_mhz=2520,
    sm_clock_max_mhz=3120,
    memory_clock_mhz=10501,
    temperature_c=61,
    throttle=0x4,
    processes={71: 5 * 10**9, 72: 10**9, 99: 2 * 10**9},
    graphics={12: 10**8},
)
"""A GPU that reports everything but a count of its energy, with a server of two processes on it."""


def read(gpus: NvmlStandIn, *pids: int, visible: str | None = None) -> dict[str, Any]:
    """Return the reading of a moment of ``cuda:0``, where the server's processes are these."""
    with gpus.asking(READINGS, *map(str, pids), visible=visible) as ask:
        found: dict[str, Any] = ask()
        return found


def test_every_figure_comes_from_nvml(gpus: NvmlStandIn) -> None:
    """Clocks, power, its limit, temperature and the reason for low clocks are what the driver says."""
    gpus.say(WHOLE)
    seen = read(gpus, 71, 72)
    assert (seen["gpu_sm_clock_mhz"], seen["gpu_memory_clock_mhz"]) == (2520, 10501)
    assert seen["gpu_power_w"] == pytest.approx(300)
    assert (seen["gpu_power_limit_w"], seen["gpu_power_default_w"]) == (450, 480)
    assert (seen["gpu_sm_clock_max_mhz"], seen["gpu_temperature_c"]) == (3120, 61)
    assert seen["gpu_throttle"] == {"sw_power_cap": 1.0}
    assert (seen["name"], seen["scope"], seen["split"]) == ("NVIDIA Stand-In", "processes", False)
    assert seen["absent"] == {}


def test_processes_of_the_server_and_of_others_are_told_apart(gpus: NvmlStandIn) -> None:
    """The server's memory is that of its processes; others are counted, with those that only draw."""
    gpus.say(WHOLE)
    seen = read(gpus, 71, 72)
    assert seen["gpu_process_memory_bytes"] == 6 * 10**9
    assert (seen["gpu_shared_with"], seen["gpu_other_pids"]) == (2, [12, 99])
    assert seen["gpu_other_memory_bytes"] == 2 * 10**9 + 10**8
    gpus.say(replace(WHOLE, processes={71: None, 72: 5}, graphics=Fault.NOT_SUPPORTED))
    unsaid = read(gpus, 71, 72)
    assert unsaid["gpu_process_memory_bytes"] is None
    assert unsaid["absent"] == {
        "gpu_process_memory_bytes": "the driver does not say how much memory each process has"
    }
    assert unsaid["gpu_shared_with"] == 0


def test_the_client_is_nobodys_neighbour(gpus: NvmlStandIn) -> None:
    """The process that reads the GPU may hold memory on it too: a model that was run in process, say."""
    gpus.say(replace(WHOLE, processes={71: 1}, graphics={}))
    with gpus.asking(READINGS, "71") as ask:
        own = ask()["own"]
        gpus.say(replace(WHOLE, processes={71: 1, own: 2, 99: 4}, graphics={}))
        assert ask()["gpu_other_pids"] == [99]


@pytest.mark.parametrize(
    ("pids", "processes", "reason"),
    [
        ((), {71: 5}, "the server's processes are not known"),
        ((7,), {71: 5, 72: 5}, "none of the 2 processes that the driver lists on the GPU is the server's"),
        ((7,), {}, "none of the 0 processes that the driver lists on the GPU is the server's"),
        ((7,), Fault.NO_PERMISSION, "the GPU cannot be read: Insufficient Permissions"),
    ],
)
def test_who_the_others_are_is_not_guessed(
    gpus: NvmlStandIn, pids: tuple[int, ...], processes: Any, reason: str
) -> None:
    """Where the server's processes are not found, neither its memory nor its neighbours are known."""
    gpus.say(replace(WHOLE, processes=processes, graphics={}))
    seen = read(gpus, *pids)
    assert (seen["gpu_process_memory_bytes"], seen["gpu_shared_with"], seen["gpu_other_pids"]) == (
        None,
        None,
        [],
    )
    assert seen["absent"] == dict.fromkeys(("gpu_process_memory_bytes", "gpu_shared_with"), reason)
    assert seen["scope"] == "device"
    assert seen["gpu_memory_bytes"] == 9 * 10**9


def test_energy_is_counted_over_the_window(gpus: NvmlStandIn) -> None:
    """The counter's growth inside the window is its energy, however much was used before."""
    gpus.say(replace(WHOLE, energy_mj=flat(200_000, start=7e9)))
    with gpus.asking(READINGS, "71") as ask:
        time.sleep(0.3)
        seen = ask()
    assert seen["gpu_energy_source"] == "counter"
    assert seen["gpu_energy_j"] == pytest.approx(200 * seen["window_s"], rel=0.5)


def test_without_a_counter_power_is_integrated(gpus: NvmlStandIn) -> None:
    """Where the GPU or its driver does not count energy, it comes from power, and that is said."""
    for fault in (Fault.NOT_SUPPORTED, Fault.FUNCTION_NOT_FOUND):
        gpus.say(replace(WHOLE, energy_mj=fault))
        seen = read(gpus, 71)
        assert seen["gpu_energy_source"] == "power"
        assert seen["gpu_energy_j"] == pytest.approx(300 * seen["window_s"])


def test_a_counter_that_goes_backwards_is_not_believed(gpus: NvmlStandIn) -> None:
    """A driver that was loaded anew counts from 0: power is integrated instead."""
    gpus.say(replace(WHOLE, energy_mj=10**9))
    with gpus.asking(READINGS, "71") as ask:
        ask()
        gpus.say(replace(WHOLE, energy_mj=10))
        assert ask()["gpu_energy_source"] == "power"


@pytest.mark.parametrize(
    ("figure", "field"),
    [
        ("gpu_power_limit_w", "power_limit_mw"),
        ("gpu_power_default_w", "power_default_mw"),
        ("gpu_sm_clock_mhz", "sm_clock_mhz"),
        ("gpu_sm_clock_max_mhz", "sm_clock_max_mhz"),
        ("gpu_memory_clock_mhz", "memory_clock_mhz"),
        ("gpu_temperature_c", "temperature_c"),
        ("gpu_throttle", "throttle"),
        ("gpu_utilization_percent", "utilization_percent"),
    ],
)
def test_what_a_driver_does_not_report_is_absent_alone(gpus: NvmlStandIn, figure: str, field: str) -> None:
    """One function that is not supported takes one figure away, with the driver's reason."""
    unsupported: dict[str, Any] = {field: Fault.NOT_SUPPORTED, "throttle_once": Fault.NOT_SUPPORTED}
    gpus.say(replace(WHOLE, **unsupported))
    seen = read(gpus, 71, 72)
    assert seen[figure] is None
    assert seen["absent"] == {figure: "the GPU cannot be read: Not Supported"}


def test_without_power_and_counter_there_is_no_energy(gpus: NvmlStandIn) -> None:
    """Nothing is estimated: no energy, no source of it."""
    gpus.say(replace(WHOLE, power_mw=Fault.NOT_SUPPORTED))
    seen = read(gpus, 71, 72)
    assert (seen["gpu_power_w"], seen["gpu_energy_j"], seen["gpu_energy_source"]) == (None, None, None)
    assert set(seen["absent"]) == {"gpu_power_w", "gpu_energy_j"}


def test_an_older_drivers_name_for_throttling_is_known(gpus: NvmlStandIn) -> None:
    """The function was called otherwise before driver 535."""
    gpus.say(replace(WHOLE, throttle=Fault.FUNCTION_NOT_FOUND, throttle_once=0x40 | 0x1))
    assert read(gpus, 71)["gpu_throttle"] == {"gpu_idle": 1.0, "hw_thermal_slowdown": 1.0}


def test_a_part_is_found_by_its_uuid(gpus: NvmlStandIn) -> None:
    """CUDA_VISIBLE_DEVICES=MIG-...: memory and processes are the part's, power and clocks the whole GPU's."""
    part = StandInGpu(
        name="NVIDIA Stand-In MIG 1g.10gb",
        part_of=1,
        utilization_percent=Fault.NOT_SUPPORTED,
        memory_bytes=3 * 10**9,
        processes={71: 2 * 10**9},
    )
    other = replace(WHOLE, power_mw=1, name="another")
    gpus.say(other, replace(WHOLE, is_split=True), part)
    seen = read(gpus, 71, visible=f"MIG-{uuid_of(2)}")
    assert (seen["name"], seen["scope"], seen["split"]) == ("NVIDIA Stand-In MIG 1g.10gb", "mig", False)
    assert (seen["gpu_memory_bytes"], seen["gpu_process_memory_bytes"]) == (3 * 10**9, 2 * 10**9)
    assert (seen["gpu_shared_with"], seen["gpu_power_w"]) == (0, pytest.approx(300))
    assert seen["absent"] == {"gpu_utilization_percent": "the GPU cannot be read: Not Supported"}


def test_a_part_is_what_a_container_is_given(gpus: NvmlStandIn) -> None:
    """Of two that are named CUDA takes the first, as its ``cuda:0``; the engine is told its UUID."""
    part = StandInGpu(name="NVIDIA Stand-In MIG 1g.10gb", part_of=1)
    gpus.say(WHOLE, replace(WHOLE, is_split=True), part, part)
    named = f"MIG-{uuid_of(3)}"
    with gpus.asking(PARTS, visible=f"{named},MIG-{uuid_of(2)}") as ask:
        index, slot, (request,) = ask()
    assert (index, slot) == (0, 1)
    assert (request["Driver"], request["DeviceIDs"]) == ("nvidia", [named])
    assert request["Capabilities"] == [["gpu"]]
    assert request["Count"] == 0, "the engine refuses a number beside identities"


def test_a_part_that_is_not_there_is_no_gpu(gpus: NvmlStandIn) -> None:
    """The UUID of a part that was taken apart names nothing: no figures of another GPU in its place."""
    gpus.say(WHOLE)
    visible = f"MIG-{uuid_of(5)}"
    seen = read(gpus, 71, visible=visible)
    assert seen["gpu_memory_bytes"] is None
    assert set(seen["absent"].values()) == {f"no GPU 0: CUDA_VISIBLE_DEVICES={visible}"}
    assert (seen["name"], seen["scope"]) == (None, None)


def test_a_split_gpu_of_which_no_part_was_named_says_so(gpus: NvmlStandIn) -> None:
    """Its figures are those of the whole device, which the reader is told."""
    gpus.say(replace(WHOLE, is_split=True))
    assert read(gpus, 71)["split"] is True
