"""The libraries by which Python packages compute on a GPU: there, and of the version they want (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_servebench.checkup import Check, CheckState

SECTION = "CUDA libraries"
CUDNN, TENSORRT = "cudnn", "nvinfer"
OF_CUDA = ("cudart", "cublas", "cublasLt", "cufft", "curand")
"""What ONNX Runtime's CUDA provider is linked against, beside cuDNN."""
_COUNTED = frozenset({"cudart", "cublas", "cublasLt"})
"""Those whose first number is that of CUDA itself."""
LOOKED_FOR = (*OF_CUDA, CUDNN, TENSORRT)
CUDNN_MAJOR = 9
"""That of ONNX Runtime since 1.19 and of torch since 2.4 (onnxruntime.ai, CUDA Execution Provider)."""
ONNXRUNTIME_GPU = 'pip uninstall -y onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"'
_LIBRARIES = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
_TORCH = "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu{cuda}"
_DEFAULT_CUDA = "13"


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
        head = self.version.partition(".")[0]
        return int(head) if head.isdecimal() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaSeen:
    """What was found, without loading any of it."""

    onnxruntime: Package | None = None
    onnxruntime_twice: bool = False
    """Whether both builds of ONNX Runtime are installed: they share a folder."""
    torch: Package | None = None
    libraries: Mapping[str, tuple[Library, ...]] = field(default_factory=dict)
    """By name, of `LOOKED_FOR`."""


def library_checks(seen: CudaSeen, *, has_gpu: bool, is_needed: bool) -> Iterator[Check]:
    """Yield what there is to say; ``is_needed``: local processes shall compute on a GPU."""
    if seen.onnxruntime_twice:
        yield _check(
            "onnxruntime",
            CheckState.WARNING,
            "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files",
            "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu",
        )
    if not has_gpu:
        yield _check("all", CheckState.NOT_AVAILABLE, "no GPU to use them")
        return
    yield _package("onnxruntime", seen.onnxruntime, ONNXRUNTIME_GPU, is_needed=is_needed)
    yield _package("torch", seen.torch, _TORCH.format(cuda=f"{_DEFAULT_CUDA}0"), is_needed=is_needed)
    cuda = seen.onnxruntime.cuda if seen.onnxruntime else ""
    for name in OF_CUDA:
        major = _first(cuda) if name in _COUNTED else None
        yield _library(name, seen, major, is_needed=is_needed)
    yield _library(CUDNN, seen, CUDNN_MAJOR, is_needed=is_needed)
    yield _tensorrt(seen, _first(cuda) or int(_DEFAULT_CUDA))


def cuda_wanted(seen: CudaSeen) -> Iterator[tuple[str, int]]:
    """Yield installed packages with the major version of CUDA that each was built for."""
    for package in (seen.onnxruntime, seen.torch):
        major = _first(package.cuda) if package else None
        if package and major:
            yield package.distribution, major


def _package(name: str, package: Package | None, remedy: str, *, is_needed: bool) -> Check:
    if package is None:
        return _check(name, CheckState.MISSING, "not installed", remedy, is_needed=is_needed)
    shown = f"{package.distribution} {package.version}"
    if not package.cuda:
        return _check(name, CheckState.MISSING, f"{shown} is built for CPUs", remedy, is_needed=is_needed)
    return _check(name, CheckState.OK, f"{shown}, built for CUDA {package.cuda}")


def _library(name: str, seen: CudaSeen, major: int | None, *, is_needed: bool) -> Check:
    """Return how a library is: any will do where no major version is wanted."""
    found, missing = seen.libraries.get(name, ()), CheckState.MISSING
    fits = [each for each in found if major is None or each.major == major]
    subject = "cuDNN" if name == CUDNN else f"lib{name}"
    if fits:
        return _check(subject, CheckState.OK, f"{fits[0].version}: {fits[0].path}")
    if found:
        others = ", ".join(f"{each.version} ({each.path})" for each in found)
        why = f"version {major} is wanted, and found was {others}"
        return _check(subject, missing, why, _LIBRARIES, is_needed=is_needed)
    wanted = "" if major is None else f" of version {major}"
    return _check(subject, missing, f"not found{wanted}", _LIBRARIES, is_needed=is_needed)


def _tensorrt(seen: CudaSeen, cuda: int) -> Check:
    found = seen.libraries.get(TENSORRT, ())
    if found:
        return _check("TensorRT", CheckState.OK, f"{found[0].version}: {found[0].path}")
    why = "not found; local processes cannot serve tensorrt, Triton's image brings its own"
    return _check("TensorRT", CheckState.MISSING, why, f"pip install tensorrt-cu{cuda}")


def _first(version: str) -> int | None:
    head = version.partition(".")[0]
    return int(head) if head.isdecimal() else None


def _check(subject: str, state: CheckState, seen: str, remedy: str = "", *, is_needed: bool = False) -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy, is_needed=is_needed)
