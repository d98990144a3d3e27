"""Looks for GPUs and for what Python packages compute with on them; loads none of it but NVML."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import psutil

from pytest_servebench.doctor.gpu import MachineGpus
from pytest_servebench.doctor.gpu_extras import LOOKED_FOR_PACKAGES, TORCHVISION
from pytest_servebench.doctor.libraries import LOOKED_FOR, CudaSeen, Library, Package
from pytest_servebench.stacks.images import CUDA_BASE, TRITON_CUDA
from pytest_servebench.telemetry.gpu_survey import GpuSurvey, survey_gpus

PCI = Path("/sys/bus/pci/devices")
DRIVER = Path("/proc/driver/nvidia/version")
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
_IN_CONTAINER = (Path("/.dockerenv"), Path("/run/.containerenv"))
_OS_RELEASE = Path("/etc/os-release")
_LDCONFIG_S = 3.0
_SONAME = re.compile(rf"lib({'|'.join(LOOKED_FOR)})\.so\.(\d+(?:\.\d+)*)")
_DISTRIBUTIONS = {
    "cudart": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime"),
    "cublas": ("nvidia-cublas-cu12", "nvidia-cublas"),
    "cublasLt": ("nvidia-cublas-cu12", "nvidia-cublas"),
    "cufft": ("nvidia-cufft-cu12", "nvidia-cufft"),
    "curand": ("nvidia-curand-cu12", "nvidia-curand"),
    "cudnn": ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    "nvinfer": ("tensorrt-cu12-libs", "tensorrt-cu13-libs", "tensorrt_cu12_libs", "tensorrt_cu13_libs"),
}
"""In which distributions NVIDIA's libraries come; their files are named by the first number alone."""


LIBCUDA = "libcuda.so.1"
_TENSORRT_PROVIDER = "capi/libonnxruntime_providers_tensorrt.so"
_OF_VERSION = re.compile(r"^__version__\b[^=\n]*=\s*['\"][\d.]+\+cu(\d{2})(\d)", re.MULTILINE)
_OF_TENSORRT = re.compile(rb"libnvinfer\.so\.(\d+)")


def look_for_gpus(environment: Mapping[str, str] = os.environ) -> MachineGpus:
    """Return what NVML, the PCI bus and the kernel tell of GPUs."""
    survey = survey_gpus()
    return MachineGpus(
        survey=survey,
        on_bus=on_bus(),
        kernel_driver=kernel_driver(),
        in_container=any(path.exists() for path in _IN_CONTAINER),
        distribution=_distribution(),
        names=dict(_names(survey)),
        libcuda=libcuda_in(chain(_folders(environment), _known_to_the_linker())),
    )


def look_for_libraries(environment: Mapping[str, str] = os.environ) -> CudaSeen:
    """Return installed packages and NVIDIA's libraries, found as files."""
    onnxruntime = _installed("onnxruntime-gpu") or _installed("onnxruntime")
    both = _version("onnxruntime") and _version("onnxruntime-gpu")
    return CudaSeen(
        onnxruntime=_built(onnxruntime, "onnxruntime", "capi/build_and_package_info.py", "cuda_version"),
        onnxruntime_twice=bool(both),
        torch=_built(_installed("torch"), "torch", "version.py", "cuda"),
        torchvision=_built(_installed(TORCHVISION), TORCHVISION, "version.py", "cuda"),
        libraries=libraries_in(chain(_folders(environment), _known_to_the_linker())),
        cudnn_twice=bool(_version("nvidia-cudnn-cu12") and _version("nvidia-cudnn-cu13")),
        tensorrt_wanted=tensorrt_wanted("onnxruntime"),
        installed={name: version for name in LOOKED_FOR_PACKAGES if (version := _version(name))},
        nvcc=_nvcc(environment),
    )


def cuda_of_images() -> Mapping[str, int]:
    """Return the major version of CUDA that images for a GPU are built on, by what they are called."""
    built = re.match(r"nvidia/cuda:(\d+)", CUDA_BASE)
    images = {"the image triton": int(TRITON_CUDA.partition(".")[0])}
    return {"the images fastapi and torchserve": int(built[1]), **images} if built else images


def on_bus(devices: Path = PCI) -> int | None:
    """Return how many display devices of NVIDIA's the PCI bus has; None where it cannot be seen."""
    try:
        found = list(devices.iterdir())
    except OSError:
        return None
    return sum(
        _read(one / "vendor") == _NVIDIA and _read(one / "class").startswith(_DISPLAY_CLASS) for one in found
    )


def kernel_driver(file: Path = DRIVER) -> str:
    """Return the version of the kernel's module; empty where none is loaded."""
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", _read(file))
    return found[1] if found else ""


def libraries_in(files: Iterator[Path]) -> Mapping[str, tuple[Library, ...]]:
    """Return those of NVIDIA's libraries that are among ``files``, each folder and version once."""
    found: dict[str, dict[str, Library]] = defaultdict(dict)
    for path in files:
        match = _SONAME.fullmatch(path.name)
        if match and path.exists():
            name = match[1]
            version = _fuller(path, name, match[2])
            found[name].setdefault(str(path.resolve()), Library(version=version, path=str(path)))
    return {name: tuple(each.values()) for name, each in found.items()}


def libcuda_in(files: Iterator[Path]) -> str:
    """Return where the driver's library for programs lies; empty where it is not among ``files``."""
    return next((str(path) for path in files if path.name == LIBCUDA and path.exists()), "")


def tensorrt_wanted(module: str) -> int | None:
    """Return the version of TensorRT that ONNX Runtime's provider for it names; None where it has none.

    The provider is read as a file: to load it would need TensorRT.
    """
    for folder in _folders_of(module):
        with suppress(OSError):
            found = _OF_TENSORRT.search((folder / _TENSORRT_PROVIDER).read_bytes())
            return int(found[1]) if found else None
    return None


def _nvcc(environment: Mapping[str, str]) -> str:
    """Return CUDA's compiler, also where it lies beside the PATH."""
    path = os.pathsep.join((environment.get("PATH", os.defpath), "/usr/local/cuda/bin"))
    return shutil.which("nvcc", path=path) or ""


def _fuller(path: Path, name: str, version: str) -> str:
    """Return a library's version: of the file it is a link to, else of the package it came in."""
    target = _SONAME.fullmatch(path.resolve().name)
    longest = max(version, target[2] if target else "", key=len)
    if longest != version or "site-packages" not in str(path):
        return longest
    versions = (_version(each) for each in _DISTRIBUTIONS.get(name, ()))
    return next((each for each in versions if each and each.split(".")[0] == version), version)


def _folders(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files of folders in which NVIDIA's libraries lie that the linker need not know of."""
    for folder in filter(None, environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)):
        yield from Path(folder).glob("lib*.so.*")
    for entry in dict.fromkeys(sys.path):
        yield from Path(entry or ".").glob("nvidia/*/lib/lib*.so.*")
        yield from Path(entry or ".").glob("tensorrt*libs/lib*.so.*")
    yield from Path("/usr/local").glob("cuda*/lib64/lib*.so.*")


def _known_to_the_linker() -> Iterator[Path]:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=_LDCONFIG_S, check=False
        )
        yield from (Path(line.partition("=> ")[2]) for line in done.stdout.splitlines() if "=> " in line)


def _built(distribution: str, module: str, file: str, name: str) -> Package | None:
    """Return a package with the CUDA that one of its files names; the file is read, not imported.

    torchvision's names it in its version alone, as ``0.29.2+cu132``, which its metadata on PyPI leaves out.
    """
    if not distribution:
        return None
    version = _version(distribution)
    texts = (_read(folder / file) for folder in _folders_of(module))
    said = re.compile(rf"^{name}\b[^=\n]*=\s*['\"]([\d.]+)['\"]", re.MULTILINE)
    found = next(filter(None, (said.search(text) or _OF_VERSION.search(text) for text in texts)), None)
    cuda = ".".join(found.groups()) if found else ""
    return Package(distribution=distribution, version=version, cuda=cuda)


def _folders_of(module: str) -> tuple[Path, ...]:
    spec = find_spec(module)
    return tuple(map(Path, (spec.submodule_search_locations or ()) if spec else ()))


def _names(survey: GpuSurvey) -> Iterator[tuple[int, str]]:
    for pid in {pid for gpu in survey.gpus for pid in gpu.pids or ()}:
        with suppress(psutil.Error):
            yield pid, psutil.Process(pid).name()


def _distribution() -> str:
    found = re.search(r"^ID=\"?([a-z0-9]+)", _read(_OS_RELEASE), re.MULTILINE)
    return found[1] if found else ""


def _installed(distribution: str) -> str:
    return distribution if _version(distribution) else ""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _read(path: Path) -> str:
    """Return what a file holds; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
