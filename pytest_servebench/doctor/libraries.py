"""The libraries by which Python packages compute on a GPU: there, and of the version they want (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_servebench.checkup import Check, CheckState

SECTION = "CUDA libraries"
CUDNN, TENSORRT = "cudnn", "nvinfer"
OF_CUDA = ("cudart", "cublas", "cublasLt", "cufft", "curand")
"""What ONNX Runtime's CUDA provider is linked against, beside cuDNN; since 1.31 without cuFFT."""
_COUNTED = frozenset({"cudart", "cublas", "cublasLt"})
"""Those whose first number is that of CUDA itself."""
LOOKED_FOR = (*OF_CUDA, CUDNN, TENSORRT)
CUDNN_MAJOR = 9
"""That of ONNX Runtime since 1.19 and of torch since 2.4 (onnxruntime.ai, CUDA Execution Provider)."""
ONNXRUNTIME_GPU = 'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "onnxruntime-gpu[cuda,cudnn]"'
"""Both go first: what is taken away with the one are files of the other."""
_LIBRARIES = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
_TORCH = {13: '"torch>=2.11"', 12: '"torch<2.11"'}
"""PyPI's torch is built for CUDA 12 up to 2.10, and since for CUDA 13, by what its packages ask for."""
_TORCHVISION = {13: "torchvision", 12: '"torchvision<0.26"'}
"""0.25 is that of torch 2.10."""
_DEFAULT_CUDA, BEFORE = 13, 12
_FOR_CUDA_12 = {
    "pytest-servebench[gpu]": "pytest-servebench[gpu-cuda12]",
    '"onnxruntime-gpu[cuda,cudnn]"': '"onnxruntime-gpu[cuda,cudnn]<1.27"',
    _TORCH[13]: _TORCH[12],
    f" {_TORCHVISION[13]} ": f" {_TORCHVISION[12]} ",
}
"""ONNX Runtime on PyPI is built for CUDA 12 up to 1.26, by what its packages ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An installed package that may compute on a GPU."""

    distribution: str
    version: str
    cuda: str = ""
    """The CUDA it was built for, as ``13.0``; empty: it was built for CPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A shared library that was found."""

    version: str
    """As far as it is known; its first number is."""
    path: str

    @property
    def major(self) -> int:
        """The first number of its version; 0: not known."""
        return first_number(self.version) or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaSeen:
    """What was found, without loading any of it."""

    onnxruntime: Package | None = None
    onnxruntime_twice: bool = False
    """Whether both builds of ONNX Runtime are installed: they share a folder."""
    torch: Package | None = None
    torchvision: Package | None = None
    libraries: Mapping[str, tuple[Library, ...]] = field(default_factory=dict)
    """By name, of `LOOKED_FOR`."""
    cudnn_twice: bool = False
    """Whether cuDNN for CUDA 12 and for CUDA 13 are installed: they share a folder."""
    tensorrt_wanted: int | None = None
    """The first number of the TensorRT that ONNX Runtime's provider is linked against; None: it has none."""
    installed: Mapping[str, str] = field(default_factory=dict)
    """Versions of what only some cases need, by distribution."""
    nvcc: str = ""
    """Path of CUDA's compiler; empty: there is none."""


def library_checks(seen: CudaSeen, *, has_gpu: bool, is_needed: bool) -> Iterator[Check]:
    """Yield what there is to say; ``is_needed``: local processes shall compute on a GPU."""
    if seen.onnxruntime_twice:
        yield _two_builds(is_needed=is_needed)
    if not has_gpu:
        yield told("all", CheckState.NOT_AVAILABLE, "no GPU to use them")
        return
    yield _package("onnxruntime", seen.onnxruntime, ONNXRUNTIME_GPU, is_needed=is_needed)
    yield _package("torch", seen.torch, torch_remedy(seen), is_needed=is_needed)
    cuda = seen.onnxruntime.cuda if seen.onnxruntime else ""
    for name in OF_CUDA:
        major = first_number(cuda) if name in _COUNTED else None
        yield _library(name, seen, major, is_needed=is_needed)
    if seen.cudnn_twice:
        yield _two_cudnns(seen, is_needed=is_needed)
    yield _library(CUDNN, seen, CUDNN_MAJOR, is_needed=is_needed)
    yield _toolkit(seen)


def cuda_wanted(seen: CudaSeen) -> Iterator[tuple[str, int]]:
    """Yield installed packages with the major version of CUDA that each was built for."""
    for package in (seen.onnxruntime, seen.torch):
        major = first_number(package.cuda) if package else None
        if package and major:
            yield package.distribution, major


def cuda_of(seen: CudaSeen) -> int:
    """Return the CUDA that packages here are for, by what is installed; else the newest's."""
    return next((major for _, major in cuda_wanted(seen)), _DEFAULT_CUDA)


def torch_remedy(seen: CudaSeen, *, vision: bool = False) -> str:
    """Return how torch for GPUs is installed, or with torchvision, for the CUDA of ONNX Runtime here.

    From PyPI, whose builds for Linux are for GPUs.
    """
    cuda = first_number(seen.onnxruntime.cuda) if seen.onnxruntime else None
    cuda = cuda if cuda in _TORCH else _DEFAULT_CUDA
    packages = f"{_TORCHVISION[cuda]} {_TORCH[cuda]}" if vision else _TORCH[cuda]
    return f"pip install --force-reinstall {packages}"


def by_cuda_12(remedy: str) -> str:
    """Return a remedy with the newest packages for CUDA 12, for drivers that do not run CUDA 13."""
    for newest, older in _FOR_CUDA_12.items():
        remedy = remedy.replace(newest, older)
    return remedy


def first_number(version: str) -> int | None:
    """Return 13 of ``13.0``; None where it begins otherwise."""
    head = version.partition(".")[0]
    return int(head) if head.isdecimal() else None


def told(subject: str, state: CheckState, seen: str, remedy: str = "", *, is_needed: bool = False) -> Check:
    """Return a check of this section."""
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy, is_needed=is_needed)


def _two_builds(*, is_needed: bool) -> Check:
    state = CheckState.MISSING if is_needed else CheckState.WARNING
    why = "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files"
    return told("onnxruntime", state, why, ONNXRUNTIME_GPU, is_needed=is_needed)


def _two_cudnns(seen: CudaSeen, *, is_needed: bool) -> Check:
    major = cuda_of(seen)
    other = BEFORE if major == _DEFAULT_CUDA else _DEFAULT_CUDA
    why = "nvidia-cudnn-cu12 and nvidia-cudnn-cu13 are both installed, and overwrite each other's files"
    remedy = (
        f"pip uninstall -y nvidia-cudnn-cu{other}"
        f" && pip install --force-reinstall --no-deps nvidia-cudnn-cu{major}"
    )
    return told("cuDNN", CheckState.MISSING, why, remedy, is_needed=is_needed)


def _package(name: str, package: Package | None, remedy: str, *, is_needed: bool) -> Check:
    if package is None:
        return told(name, CheckState.MISSING, "not installed", remedy, is_needed=is_needed)
    shown = f"{package.distribution} {package.version}"
    if not package.cuda:
        return told(name, CheckState.MISSING, f"{shown} is built for CPUs", remedy, is_needed=is_needed)
    return told(name, CheckState.OK, f"{shown}, built for CUDA {package.cuda}")


def _library(name: str, seen: CudaSeen, major: int | None, *, is_needed: bool) -> Check:
    """Return how a library is: any will do where no major version is wanted."""
    found, missing = seen.libraries.get(name, ()), CheckState.MISSING
    fits = [each for each in found if major is None or each.major == major]
    subject = "cuDNN" if name == CUDNN else f"lib{name}"
    if fits:
        return told(subject, CheckState.OK, f"{fits[0].version}: {fits[0].path}")
    if found:
        why = f"version {major} is wanted, and found was {listed_libraries(found)}"
        return told(subject, missing, why, _LIBRARIES, is_needed=is_needed)
    wanted = "" if major is None else f" of version {major}"
    return told(subject, missing, f"not found{wanted}", _LIBRARIES, is_needed=is_needed)


def listed_libraries(found: tuple[Library, ...]) -> str:
    """Return versions and places."""
    return ", ".join(f"{each.version} ({each.path})" for each in found)


def _toolkit(seen: CudaSeen) -> Check:
    if seen.nvcc:
        return told("CUDA toolkit", CheckState.OK, f"{seen.nvcc}; not needed")
    why = "no nvcc, and none is needed: packages and images bring their own libraries"
    return told("CUDA toolkit", CheckState.NOT_AVAILABLE, why)
