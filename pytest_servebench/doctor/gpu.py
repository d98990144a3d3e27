"""GPUs: the driver, its CUDA against that of images and packages, and which GPUs are seen (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor import one_gpu
from pytest_servebench.telemetry.gpu_devices import VISIBLE
from pytest_servebench.telemetry.gpu_survey import GpuSurvey

SECTION = one_gpu.SECTION
_OLDEST_DRIVERS = {11: 450, 12: 525, 13: 580}
"""Of each CUDA the first branch of drivers that runs it on every GPU ("CUDA Compatibility", NVIDIA)."""
_OLDER_CUDA = "packages and images built for an older CUDA, or a newer GPU: docs/gpu.md"
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
_CAPABILITIES = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
_CUDA_LIBRARY = {"ubuntu": "libnvidia-compute-{branch}", "debian": "libcuda1"}
"""The package of ``libcuda.so.1`` by distribution; ``branch`` is the first number of the driver's version."""


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
    libcuda: str | None = None
    """Where the driver's library for programs lies; empty: nowhere; None: it was not looked for."""
    visible: str | None = None
    """The value of CUDA_VISIBLE_DEVICES; None: it is not set."""
    visible_names: tuple[str, ...] = ()
    """The GPUs that it leaves to programs."""

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
    if seen.libcuda is not None:
        yield _libcuda(seen, is_needed=is_needed)
    if seen.visible is not None:
        yield _visible(seen, is_needed=is_needed)
    for who, major in wanted.images.items():
        # Images bring NVIDIA's compatibility package, by which data centre GPUs do with older drivers.
        yield _cuda(seen, who, major, CheckState.WARNING)
    for who, major in wanted.packages.items():
        yield _cuda(seen, who, major, CheckState.MISSING, is_needed=wanted.packages_needed)
    for index, gpu in enumerate(seen.survey.gpus):
        yield from one_gpu.checks_of_one(index, gpu, seen.names, is_needed=is_needed)


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
    old = [
        gpu.name
        for gpu in seen.survey.gpus
        if (gpu.capability or (99, 0)) < one_gpu.OLDEST_CAPABILITY.get(major, (0, 0))
    ]
    if old:
        why = f"{major}, whose libraries do not run on {', '.join(old)}"
        return _check(subject, otherwise, why, _OLDER_CUDA, is_needed=is_needed)
    if has[0] >= major:
        return _check(subject, CheckState.OK, f"{major}, and the driver runs up to {_dotted(has)}")
    least = _OLDEST_DRIVERS.get(major)
    newer = f"driver {least} or later" if least else f"a driver for CUDA {major}"
    compatible = "; a data centre GPU may do without" if otherwise is CheckState.WARNING else ""
    why = f"{major}, and driver {seen.survey.driver} runs up to {_dotted(has)}: {newer} is needed{compatible}"
    return _check(subject, otherwise, why, _INSTALL.get(seen.distribution, _OTHERWISE), is_needed=is_needed)


def _libcuda(seen: MachineGpus, *, is_needed: bool) -> Check:
    """Return whether programs can compute: NVML alone only reads."""
    if seen.libcuda:
        return _check("libcuda", CheckState.OK, seen.libcuda)
    why = "NVML answers, but there is no libcuda.so.1: GPUs can be read, and nothing can compute on them"
    return _check("libcuda", CheckState.MISSING, why, _libcuda_remedy(seen), is_needed=is_needed)


def _libcuda_remedy(seen: MachineGpus) -> str:
    if seen.in_container:
        return f"{_CAPABILITIES}  # this container was given nvidia-smi alone"
    package = _CUDA_LIBRARY.get(seen.distribution)
    branch = seen.survey.driver.partition(".")[0]
    return f"sudo apt-get install {package.format(branch=branch)}" if package else _OTHERWISE


def _visible(seen: MachineGpus, *, is_needed: bool) -> Check:
    """Return what CUDA_VISIBLE_DEVICES leaves."""
    subject, count = VISIBLE, len(seen.survey.gpus)
    if seen.visible_names:
        left = f"{len(seen.visible_names)} of {count} GPUs: {', '.join(seen.visible_names)}"
        return _check(subject, CheckState.OK, f"{seen.visible!r} leaves {left}")
    what = f"{seen.visible!r} names no GPU" if seen.visible else "it is empty"
    why = f"{what}: programs see none of {count}"
    return _check(subject, CheckState.MISSING, why, f"unset {VISIBLE}", is_needed=is_needed)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _check(subject: str, state: CheckState, seen: str, remedy: str = "", *, is_needed: bool = False) -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy, is_needed=is_needed)
