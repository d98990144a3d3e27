"""Driver, CUDA and users of GPUs are told as NVML says, and what is not said is not made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor.gpu import CudaWanted, MachineGpus, gpu_checks
from pytest_servebench.telemetry.gpu_survey import GpuSeen, GpuSurvey

GPU = GpuSeen(
    name="NVIDIA H100",
    memory_bytes=80 * 10**9,
    used_bytes=10**9,
    is_persistent=True,
    compute_mode="default",
    capability=(9, 0),
    pids=(),
)
SURVEY = GpuSurvey(driver="580.65", cuda=(13, 0), gpus=(GPU,))
WELL = MachineGpus(
    survey=SURVEY,
    on_bus=1,
    kernel_driver="580.65",
    distribution="debian",
    libcuda="/usr/lib/libcuda.so.1",
    visible="0",
    visible_names=("NVIDIA H100",),
)
IMAGES = CudaWanted(images={"the images": 13})


def checks_of(seen: MachineGpus, wanted: CudaWanted = IMAGES, *, is_needed: bool = False) -> dict[str, Check]:
    """Return the checks by subject."""
    return {each.subject: each for each in gpu_checks(seen, wanted, is_needed=is_needed)}


def with_gpu(gpu: GpuSeen) -> MachineGpus:
    """Return a machine that is well, with this GPU."""
    return replace(WELL, survey=replace(SURVEY, gpus=(gpu,)))


def test_a_gpu_that_is_well() -> None:
    """Driver, CUDA, name, memory and that nobody is on it are told, and nothing has to be mended."""
    checks = checks_of(WELL)
    assert {each.state for each in checks.values()} == {CheckState.OK}
    assert "CUDA up to 13.0" in checks["driver"].seen
    assert "80.0 GB" in checks["cuda:0"].seen
    assert not [each.remedy for each in checks.values() if each.remedy]


@pytest.mark.parametrize(
    ("absent", "changes", "remedy"),
    [
        ("NVML Shared Library Not Found", {"kernel_driver": ""}, "sudo apt-get install nvidia-driver"),
        (
            "NVML Shared Library Not Found",
            {"kernel_driver": "", "distribution": "ubuntu"},
            "sudo ubuntu-drivers install",
        ),
        (
            "NVML Shared Library Not Found",
            {"kernel_driver": "", "distribution": "arch"},
            "https://docs.nvidia.com/",
        ),
        ("NVML Shared Library Not Found", {}, "libnvidia-ml1  # of the loaded driver's version, 580.65"),
        ("NVML Shared Library Not Found", {"in_container": True}, "docker run --gpus all"),
        ("RM has detected an NVML/RM version mismatch.", {}, "sudo reboot"),
        ("Driver Not Loaded", {}, "sudo modprobe nvidia"),
        ("Insufficient Permissions", {}, "/dev/nvidia*"),
        ("nvidia-ml-py is not installed", {}, "pip install nvidia-ml-py"),
        ("", {}, "nvidia-smi"),
    ],
    ids=str,
)
def test_a_gpu_without_a_driver_is_missed(absent: str, changes: dict[str, object], remedy: str) -> None:
    """Where the bus has a GPU, what keeps NVML from it decides the remedy."""
    seen = replace(WELL, survey=GpuSurvey(absent=absent), **changes)  # type: ignore[arg-type]
    checks = checks_of(seen)
    assert list(checks) == ["driver"]
    assert checks["driver"].state is CheckState.MISSING
    assert remedy in checks["driver"].remedy


def test_a_machine_without_a_gpu_misses_none() -> None:
    """It is n/a, with the reason, unless a GPU was asked for."""
    bare = MachineGpus(survey=GpuSurvey(absent="no NVIDIA driver"), on_bus=0)
    assert checks_of(bare)["driver"].state is CheckState.NOT_AVAILABLE
    asked = checks_of(bare, is_needed=True)["driver"]
    assert (asked.state, asked.is_needed, asked.remedy) == (CheckState.MISSING, True, "--device=cpu")


def test_an_old_driver_names_the_one_that_is_needed() -> None:
    """Images of CUDA 13 do not run on a driver for CUDA 12, whose minor versions are all one."""
    old = replace(WELL, survey=replace(SURVEY, driver="550.54", cuda=(12, 4)))
    packages = {"torch": 12, "onnxruntime-gpu": 13}
    wanted = CudaWanted(images={"the images": 13}, packages=packages, packages_needed=True)
    checks = checks_of(old, wanted)
    assert checks["CUDA of torch"].state is CheckState.OK
    image, package = checks["CUDA of the images"], checks["CUDA of onnxruntime-gpu"]
    assert (image.state, image.is_needed) == (CheckState.WARNING, False)
    assert "a data centre GPU may do without" in image.seen
    assert (package.state, package.is_needed) == (CheckState.MISSING, True)
    for check in (image, package):
        assert "550.54" in check.seen
        assert "driver 580 or later" in check.seen
        assert check.remedy


def test_a_driver_that_does_not_say_its_cuda_is_not_judged() -> None:
    """Missing is not passing."""
    mute = replace(WELL, survey=replace(SURVEY, cuda=None))
    assert checks_of(mute)["CUDA of the images"].state is CheckState.NOT_AVAILABLE


def test_who_is_on_a_gpu_is_named() -> None:
    """Processes have their names where these can be seen, and the memory in use is told."""
    shared = replace(with_gpu(replace(GPU, pids=(71, 72))), names={71: "python3"})
    check = checks_of(shared)["cuda:0 users"]
    assert check.state is CheckState.WARNING
    assert "python3 (71), a process (72)" in check.seen
    assert "1.0 GB" in check.seen
    assert checks_of(with_gpu(replace(GPU, pids=None)))["cuda:0 users"].state is CheckState.NOT_AVAILABLE


def test_persistence_and_parts_are_told() -> None:
    """A driver that unloads itself and a GPU in parts change what is measured."""
    checks = checks_of(with_gpu(replace(GPU, is_persistent=False, is_split=True)))
    assert checks["cuda:0 persistence"].remedy == "sudo nvidia-smi -pm 1"
    assert "CUDA_VISIBLE_DEVICES=MIG-" in checks["cuda:0 MIG"].remedy
    unknown = checks_of(with_gpu(replace(GPU, is_persistent=None)))["cuda:0 persistence"]
    assert unknown.state is CheckState.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, "sudo apt-get install libcuda1"),
        ({"distribution": "ubuntu"}, "sudo apt-get install libnvidia-compute-580"),
        ({"distribution": "arch"}, "https://docs.nvidia.com/"),
        ({"in_container": True}, "NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
    ],
    ids=str,
)
def test_a_driver_that_only_reads_is_told(changes: dict[str, object], remedy: str) -> None:
    """Where NVML answers and libcuda is not there nvidia-smi looks well, and nothing computes."""
    seen = replace(WELL, libcuda="", **changes)  # type: ignore[arg-type]
    check = checks_of(seen, is_needed=True)["libcuda"]
    assert (check.state, check.is_needed) == (CheckState.MISSING, True)
    assert "nothing can compute" in check.seen
    assert remedy in check.remedy
    assert "libcuda" not in checks_of(replace(WELL, libcuda=None)), "what was not looked for is not judged"


@pytest.mark.parametrize(("value", "told"), [("", "it is empty"), ("7", "'7' names no GPU")])
def test_a_variable_that_hides_every_gpu_is_named(value: str, told: str) -> None:
    """An empty CUDA_VISIBLE_DEVICES, and one that names none, are mended by unsetting it."""
    check = checks_of(replace(WELL, visible=value, visible_names=()), is_needed=True)["CUDA_VISIBLE_DEVICES"]
    assert (check.state, check.is_needed) == (CheckState.MISSING, True)
    assert told in check.seen
    assert "programs see none of 1" in check.seen
    assert check.remedy == "unset CUDA_VISIBLE_DEVICES"
    assert "CUDA_VISIBLE_DEVICES" not in checks_of(replace(WELL, visible=None))


def test_a_mode_that_lets_one_process_compute_is_told() -> None:
    """Several workers of a server fail where one process may compute; where none may, nothing runs."""
    exclusive = checks_of(with_gpu(replace(GPU, compute_mode="exclusive")))["cuda:0 compute mode"]
    assert (exclusive.state, exclusive.remedy) == (CheckState.WARNING, "sudo nvidia-smi -i 0 -c DEFAULT")
    prohibited = replace(GPU, compute_mode="prohibited")
    closed = checks_of(with_gpu(prohibited), is_needed=True)["cuda:0 compute mode"]
    assert (closed.state, closed.is_needed) == (CheckState.MISSING, True)
    mute = checks_of(with_gpu(replace(GPU, compute_mode="")))["cuda:0 compute mode"]
    assert mute.state is CheckState.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("capability", "told"),
    [
        ((7, 5), "compute capability 7.5: tensor cores for fp16, int8; none for tf32, bf16"),
        ((8, 9), "compute capability 8.9: tensor cores for fp16, int8, tf32, bf16"),
        ((6, 1), "compute capability 6.1: no tensor cores"),
    ],
)
def test_what_a_gpu_computes_fast_is_told(capability: tuple[int, int], told: str) -> None:
    """A T4 has no TF32 and no bf16, whatever an engine calls what it computes."""
    assert checks_of(with_gpu(replace(GPU, capability=capability)))["cuda:0 arithmetic"].seen == told
    mute = checks_of(with_gpu(replace(GPU, capability=None)))["cuda:0 arithmetic"]
    assert mute.state is CheckState.NOT_AVAILABLE


def test_a_gpu_that_a_cuda_has_left_behind_is_named() -> None:
    """CUDA 13 has no libraries for GPUs before Turing, however new their driver is."""
    old = with_gpu(replace(GPU, name="Tesla V100", capability=(7, 0)))
    checks = checks_of(old, CudaWanted(images={"the images": 13}, packages={"torch": 12}))
    assert checks["CUDA of the images"].state is CheckState.WARNING
    assert "do not run on Tesla V100" in checks["CUDA of the images"].seen
    assert checks["CUDA of torch"].state is CheckState.OK
