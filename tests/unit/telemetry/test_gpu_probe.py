from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace

import pytest

from pytest_servebench.errors import MissingPieceError
from pytest_servebench.telemetry.gpu import GpuProbe
from pytest_servebench.telemetry.gpu_devices import gpu_identity, gpu_names
from pytest_servebench.telemetry.gpu_window import FIGURES
from tests.jumping_clock import JumpingClock

UTILIZATION, MEMORY = "gpu_utilization_percent", "gpu_memory_bytes"


class NVMLError(Exception):
    """As pynvml's."""


def fake_nvml(
    *,
    driver: bool = True,
    use: tuple[int, ...] = (),
    memory: tuple[int, ...] = (),
    gpus: int = 1,
    uuids: tuple[str, ...] = ("GPU-0", "GPU-1"),
) -> ModuleType:
    """Return a pynvml whose one GPU reads as told, then is lost."""

    def init() -> None:
        if not driver:
            raise NVMLError("Driver Not Loaded")

    def handle(index: int) -> int:
        if index >= gpus:
            raise NVMLError("Invalid Argument")
        return index

    module = ModuleType("pynvml")
    module.__dict__.update(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetName=lambda handle: b"NVIDIA GeForce RTX 4090",
        nvmlDeviceGetUUID=lambda handle: _uuid(handle, uuids),
        nvmlSystemGetDriverVersion=lambda: "550.54",
        nvmlDeviceGetUtilizationRates=_until_lost("gpu", use),
        nvmlDeviceGetMemoryInfo=_until_lost("used", memory),
    )
    return module


def _until_lost(name: str, values: Iterable[int]) -> Callable[[int], SimpleNamespace]:
    """Return a query that answers with one value after the other, and then with an error."""
    left = iter(values)

    def answer(_handle: int) -> SimpleNamespace:
        try:
            return SimpleNamespace(**{name: next(left)})
        except StopIteration:
            raise NVMLError("GPU is lost") from None

    return answer


def _uuid(handle: int, uuids: tuple[str, ...]) -> bytes:
    if handle >= len(uuids):
        raise NVMLError("Not Supported")
    return uuids[handle].encode()


def test_what_a_compiled_model_depends_on() -> None:
    """Name, compute capability and driver, of a GPU by the count of the whole machine."""
    nvml = fake_nvml(gpus=2)
    nvml.__dict__["nvmlDeviceGetCudaComputeCapability"] = lambda handle: (8, 9 - handle)
    assert gpu_identity(0, nvml) == "NVIDIA GeForce RTX 4090, compute 8.9, driver 550.54"
    assert gpu_identity(1, nvml) == "NVIDIA GeForce RTX 4090, compute 8.8, driver 550.54"
    with pytest.raises(MissingPieceError, match="nobody says which GPU it is") as caught:
        gpu_identity(2, nvml)
    assert (caught.value.where, caught.value.seen) == ("GPU 2", "the GPU cannot be read: Invalid Argument")
    assert "nvidia-smi" in caught.value.next_step


def test_a_gpu_without_a_uuid_has_its_place_all_the_same() -> None:
    """UUIDs are in the order of the names; one that NVML does not give, or an old binding lacks, is empty."""
    assert gpu_names(fake_nvml(gpus=2)).uuids == ("GPU-0", "GPU-1")
    assert gpu_names(fake_nvml(gpus=2, uuids=("GPU-0",))).uuids == ("GPU-0", "")
    old = fake_nvml(gpus=2)
    del old.nvmlDeviceGetUUID
    assert gpu_names(old).uuids == ("", "")


def test_the_compute_capability_is_of_each_gpu() -> None:
    """In the order of the names; one that NVML does not give is not known, which is no number."""
    nvml = fake_nvml(gpus=2)
    assert gpu_names(nvml).capabilities == (None, None)
    nvml.__dict__["nvmlDeviceGetCudaComputeCapability"] = lambda handle: (8 - handle, 9)
    assert gpu_names(nvml).capabilities == ((8, 9), (7, 9))


def test_names_the_gpus() -> None:
    """Names and driver are those of NVML, bytes of old bindings included."""
    gpus = gpu_names(fake_nvml(gpus=2))
    assert gpus.names == ("NVIDIA GeForce RTX 4090",) * 2
    assert (gpus.driver, gpus.absent) == ("550.54", "")


@pytest.mark.parametrize(
    ("visible", "slots"),
    [
        (None, (0, 1)),
        ("1", (1,)),
        ("1,0", (1, 0)),
        ("GPU-1, GPU-0", (1, 0)),
        ("1,7,0", (1,)),
        ("GPU-,0", ()),
        ("0,0", ()),
        ("-1", ()),
        ("", ()),
        ("MIG-5eb0", ()),
    ],
)
def test_only_gpus_that_servers_see_are_offered(visible: str | None, slots: tuple[int, ...]) -> None:
    """In the order in which CUDA counts them, up to the first word that names none; and those are watched."""
    nvml = fake_nvml(gpus=2, use=(5,), memory=(6,))
    gpus = gpu_names(nvml, visible=visible)
    assert (gpus.slots, gpus.uuids) == (slots, tuple(f"GPU-{slot}" for slot in slots))
    assert gpus.absent == ("" if slots else f"CUDA_VISIBLE_DEVICES={visible} names no GPU")
    handles = [GpuProbe(i, JumpingClock(), nvml, visible=visible)._gpu.device for i in range(len(slots))]
    assert handles == list(slots)
    lost = GpuProbe(len(slots), JumpingClock(), nvml, visible=visible)
    assert not lost.sample()
    assert lost.window(0, 1).absent[MEMORY].startswith(f"no GPU {len(slots)}: ")


def test_says_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver, no device and no binding are three different reasons."""
    assert gpu_names(fake_nvml(driver=False)).absent == "no NVIDIA driver: Driver Not Loaded"
    assert gpu_names(fake_nvml(gpus=0)).absent == "the NVIDIA driver sees no GPU"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_names().absent == "nvidia-ml-py is not installed"


def test_real_nvml_never_raises() -> None:
    """On this machine, whatever it has, there are names or there is a reason."""
    gpus = gpu_names()
    assert bool(gpus.names) != bool(gpus.absent)


def test_reads_a_window() -> None:
    """Utilisation is the mean and memory the highest of the samples inside the window."""
    clock = JumpingClock()
    probe = GpuProbe(0, clock, fake_nvml(use=(5, 80, 90, 7), memory=(1, 30, 20, 99)))
    for _ in range(4):
        probe.sample()
        clock.sleep_s(1)
    reading = probe.window(10**9, 2 * 10**9)
    assert (reading.gpu_utilization_percent, reading.gpu_memory_bytes) == (85.0, 30)
    assert not {UTILIZATION, MEMORY} & set(reading.absent)


def test_bindings_that_lack_a_function_lack_one_figure() -> None:
    """An old nvidia-ml-py is no reason to read nothing: the reason names what it does not have."""
    clock = JumpingClock()
    probe = GpuProbe(0, clock, fake_nvml(use=(5, 6), memory=(1, 2)))
    probe.sample()
    clock.sleep_s(1)
    reading = probe.window(0, 10**9)
    assert (reading.gpu_utilization_percent, reading.gpu_memory_bytes) == (5.5, 2)
    why = "the installed nvidia-ml-py has no nvmlDeviceGetPowerUsage"
    assert reading.absent["gpu_power_w"] == why
    assert set(reading.absent) == set(FIGURES) - {UTILIZATION, MEMORY}
    assert not probe.is_split


def test_a_function_newer_than_the_driver_is_one_figure() -> None:
    """The bindings' complaint of that is none of NVML's errors, and a probe never raises."""

    class NVMLLibraryMismatchError(Exception):
        """As pynvml's."""

    def listed(_handle: int) -> None:
        raise NVMLLibraryMismatchError("Unversioned function called")

    nvml, clock = fake_nvml(use=(5, 6), memory=(1, 2)), JumpingClock()
    functions = {"nvmlDeviceGetComputeRunningProcesses": listed}
    nvml.__dict__.update(functions, NVMLLibraryMismatchError=NVMLLibraryMismatchError)
    probe = GpuProbe(0, clock, nvml, pids=lambda: frozenset({1}))
    probe.sample()
    clock.sleep_s(1)
    reading = probe.window(0, 10**9)
    assert reading.gpu_memory_bytes == 2
    assert reading.absent["gpu_shared_with"] == "the GPU cannot be read: Unversioned function called"


@pytest.mark.parametrize(
    ("nvml", "reason"),
    [
        (fake_nvml(driver=False), "no NVIDIA driver: Driver Not Loaded"),
        (fake_nvml(gpus=0), "no GPU 0: Invalid Argument"),
        (fake_nvml(), "the GPU cannot be read: GPU is lost"),
    ],
)
def test_an_absent_gpu_has_no_figures(nvml: ModuleType, reason: str) -> None:
    """What cannot be read is None with the reason, never 0."""
    probe = GpuProbe(0, JumpingClock(), nvml)
    probe.start()
    reading = probe.window(0, 1)
    probe.stop()
    assert not any(reading.figures[name] for name in FIGURES)
    assert (reading.absent[UTILIZATION], reading.absent[MEMORY]) == (reason, reason)
    assert set(reading.absent) == set(FIGURES)


def test_a_loss_inside_the_window_leaves_no_figures() -> None:
    """Figures of the first half would not speak for a window in which the GPU was lost."""
    clock = JumpingClock()
    probe = GpuProbe(0, clock, fake_nvml(use=(5, 80), memory=(1, 2)))
    for _ in range(3):
        probe.sample()
        clock.sleep_s(1)
    assert probe.window(0, 10**9).gpu_utilization_percent == 42.5
    assert probe.window(0, 2 * 10**9).absent[UTILIZATION] == "the GPU cannot be read: GPU is lost"
