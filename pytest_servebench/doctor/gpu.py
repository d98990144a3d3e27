"""GPUs: the driver, its CUDA against that of images and packages, and who else is there (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.telemetry.gpu_survey import GpuSeen, GpuSurvey

SECTION = "GPU"
_OLDEST_DRIVERS = {11: 450, 12: 525, 13: 580}
"""Of each CUDA the first branch of drivers that runs it on every GPU ("CUDA Compatibility", NVIDIA)."""
_DEBIAN = "sudo apt-get install nvidia-driver && sudo reboot  # of Debian's section non-free"
_INSTALL = {"ubuntu": "sudo ubuntu-drivers install && sudo reboot", "debian": _DEBIAN}
_OTHERWISE = "install NVIDIA's driver: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/"
_BROKEN = {
    "version mismatch": "sudo reboot  # the driver was replaced while it was loaded",
    "Driver Not Loaded": "sudo modprobe nvidia",
    "Insufficient Permissions": "ls -l /dev/nvidia*  # this user must be able to read and write them",
    "nvidia-ml-py is not installed": "pip install nvidia-ml-py",
}
"""What mends what NVML says, by a part of it, as nvidia-ml-py words it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineGpus:
    """What was seen of GPUs."""

    survey: GpuSurvey
    on_bus: int | None = None
    """NVIDIA GPUs on the PCI bus; None: it cannot be seen."""
    kernel_driver: str = ""
    """Version of the kernel's module; empty: none is loaded."""
    in_container: bool = False
    distribution: str = ""
    """As in os-release: ``debian``, ``ubuntu``, ..."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Of the processes on GPUs, as far as they can be seen."""

    @property
    def has_gpu(self) -> bool:
        """Whether there is one, usable or not."""
        return bool(self.survey.gpus or self.on_bus)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaWanted:
    """The major version of CUDA, by whom it was built for."""

    images: Mapping[str, int] = field(default_factory=dict)
    packages: Mapping[str, int] = field(default_factory=dict)
    packages_needed: bool = False
    """Whether those packages shall compute on a GPU."""


def gpu_checks(seen: MachineGpus, wanted: CudaWanted, *, is_needed: bool) -> Iterator[Check]:
    """Yield what there is to say; ``is_needed``: a GPU was asked for."""
    driver = _driver(seen, is_needed=is_needed)
    yield driver
    if driver.state is not CheckState.OK:
        return
    for who, major in wanted.images.items():
        # Images bring NVIDIA's compatibility package, by which data centre GPUs do with older drivers.
        yield _cuda(seen, who, major, CheckState.WARNING)
    for who, major in wanted.packages.items():
        yield _cuda(seen, who, major, CheckState.MISSING, is_needed=wanted.packages_needed)
    for index, gpu in enumerate(seen.survey.gpus):
        yield from _one(f"cuda:{index}", gpu, seen.names)


def _driver(seen: MachineGpus, *, is_needed: bool) -> Check:
    survey, missing = seen.survey, CheckState.MISSING
    if survey.gpus:
        cuda = "" if survey.cuda is None else f", for CUDA up to {_dotted(survey.cuda)}"
        return _check("driver", CheckState.OK, f"{survey.driver or 'of unknown version'}{cuda}")
    if not seen.on_bus and not survey.driver and not seen.kernel_driver:
        state = missing if is_needed else CheckState.NOT_AVAILABLE
        why = "no NVIDIA GPU in this machine" if seen.on_bus == 0 else "no NVIDIA GPU can be seen"
        remedy = "--device=cpu" if is_needed else ""
        return _check("driver", state, f"{why} ({survey.absent})", remedy, is_needed=is_needed)
    why = survey.absent or "the driver is there and sees no GPU"
    return _check("driver", missing, why, _driver_remedy(seen), is_needed=is_needed)


def _driver_remedy(seen: MachineGpus) -> str:
    known = next((remedy for part, remedy in _BROKEN.items() if part in seen.survey.absent), "")
    if known or not seen.survey.absent:
        return known or "nvidia-smi"
    if seen.in_container:
        return "docker run --gpus all ...  # this container was started without GPUs"
    if seen.kernel_driver:
        return f"sudo apt-get install libnvidia-ml1  # of the loaded driver's version, {seen.kernel_driver}"
    return _INSTALL.get(seen.distribution, _OTHERWISE)


def _cuda(
    seen: MachineGpus, who: str, major: int, otherwise: CheckState, *, is_needed: bool = False
) -> Check:
    """Return whether the driver runs the CUDA of ``who``; ``otherwise`` is the state where it does not."""
    has, subject = seen.survey.cuda, f"CUDA of {who}"
    if has is None:
        why = "the driver does not say which CUDA it runs"
        return _check(subject, CheckState.NOT_AVAILABLE, why, "nvidia-smi")
    if has[0] >= major:
        return _check(subject, CheckState.OK, f"{major}, and the driver runs up to {_dotted(has)}")
    least = _OLDEST_DRIVERS.get(major)
    newer = f"driver {least} or later" if least else f"a driver for CUDA {major}"
    compatible = "; a data centre GPU may do without" if otherwise is CheckState.WARNING else ""
    why = f"{major}, and driver {seen.survey.driver} runs up to {_dotted(has)}: {newer} is needed{compatible}"
    return _check(subject, otherwise, why, _INSTALL.get(seen.distribution, _OTHERWISE), is_needed=is_needed)


def _one(name: str, gpu: GpuSeen, names: Mapping[int, str]) -> Iterator[Check]:
    held = "" if gpu.memory_bytes is None else f", {gpu.memory_bytes / 1e9:.1f} GB"
    yield _check(name, CheckState.OK, f"{gpu.name}{held}")
    yield _users(name, gpu, names)
    if gpu.is_persistent is False:
        why = "off: the first server waits for the driver, and its cold start is longer by that"
        yield _check(f"{name} persistence", CheckState.WARNING, why, "sudo nvidia-smi -pm 1")
    elif gpu.is_persistent is None:
        yield _check(f"{name} persistence", CheckState.NOT_AVAILABLE, "the driver does not say")
    if gpu.is_split:
        why = "it is split into parts (MIG); servers see the part that CUDA_VISIBLE_DEVICES names"
        yield _check(
            f"{name} MIG", CheckState.WARNING, why, "export CUDA_VISIBLE_DEVICES=MIG-...  # nvidia-smi -L"
        )


def _users(name: str, gpu: GpuSeen, names: Mapping[int, str]) -> Check:
    subject = f"{name} users"
    if gpu.pids is None:
        return _check(subject, CheckState.NOT_AVAILABLE, "the driver does not say who computes on it")
    if not gpu.pids:
        return _check(subject, CheckState.OK, "nobody computes on it")
    used = "" if gpu.used_bytes is None else f"; {gpu.used_bytes / 1e9:.1f} GB are used"
    who = ", ".join(f"{names.get(pid, 'a process')} ({pid})" for pid in gpu.pids)
    return _check(
        subject,
        CheckState.WARNING,
        f"{who} on it{used}",
        "nvidia-smi  # wait for them, or ask for another: --serve-device=cuda:1",
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _check(subject: str, state: CheckState, seen: str, remedy: str = "", *, is_needed: bool = False) -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy, is_needed=is_needed)
