"""What only some cases on a GPU need: TensorRT, JPEG decoded on it, tensors in its memory (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.doctor.libraries import (
    BEFORE,
    TENSORRT,
    CudaSeen,
    cuda_of,
    listed_libraries,
    told,
    torch_remedy,
)

TENSORRT_MAJOR = 10
"""That of ONNX Runtime's provider from 1.18 to 1.31, by the names of the libraries it is linked against."""
NVIDIA_INDEX = "https://pypi.nvidia.com"
"""Where the wheels of TensorRT lie; what PyPI has in their place can but fetch them from there."""
_RTX = "onnxruntime-ep-nv-tensorrt-rtx-cu"
RTX = (f"{_RTX}13", f"{_RTX}12")
TORCH_TENSORRT, TORCHVISION, CUDA_BINDINGS = "torch-tensorrt", "torchvision", "cuda-bindings"
DALI = ("nvidia-dali-cuda130", "nvidia-dali-cuda120")
LOOKED_FOR_PACKAGES = (*RTX, TORCH_TENSORRT, TORCHVISION, CUDA_BINDINGS, *DALI)
"""Distributions whose versions are asked for."""


def extra_checks(seen: CudaSeen, *, has_gpu: bool) -> Iterator[Check]:
    """Yield what there is to say on a machine with a GPU; none of it is needed unless a case asks for it."""
    if not has_gpu:
        return
    yield _tensorrt(seen)
    yield _plugin(seen)
    yield _torch_tensorrt(seen)
    yield _nvjpeg(seen)
    yield _dali(seen)
    yield _cuda_python(seen)


def _tensorrt(seen: CudaSeen) -> Check:
    """Return whether ONNX Runtime's TensorRT provider finds the library that it is linked against."""
    found, wanted = seen.libraries.get(TENSORRT, ()), seen.tensorrt_wanted or TENSORRT_MAJOR
    wheel = f'"tensorrt-cu{cuda_of(seen)}-libs>={wanted},<{wanted + 1}"'
    remedy = f"pip install {wheel} --extra-index-url {NVIDIA_INDEX}"
    fits = [each for each in found if each.major == wanted]
    if fits:
        return told("TensorRT", CheckState.OK, f"{fits[0].version}: {fits[0].path}")
    if found:
        why = f"ONNX Runtime's provider wants version {wanted}, and found was {listed_libraries(found)}"
        return told("TensorRT", CheckState.MISSING, why, remedy)
    why = "not found; local processes cannot serve tensorrt by it, Triton's image brings its own"
    return told("TensorRT", CheckState.MISSING, why, remedy)


def _plugin(seen: CudaSeen) -> Check:
    """Return whether ONNX Runtime's plugin for TensorRT-RTX is there, which carries its libraries."""
    subject = "TensorRT-RTX plugin"
    there = _there(seen, RTX)
    if there:
        return told(subject, CheckState.OK, there)
    why = "not installed; it serves tensorrt without TensorRT, on RTX GPUs, beside the plain onnxruntime"
    return told(subject, CheckState.MISSING, why, f"pip install {_RTX}{cuda_of(seen)}")


def _torch_tensorrt(seen: CudaSeen) -> Check:
    """Return whether torch-tensorrt is there, and of the release of torch: each is built for one alone.

    Its remedy brings the torch of its newest release, which is often one behind torch's own.
    """
    version, release = (
        seen.installed.get(TORCH_TENSORRT, ""),
        _release(seen.torch.version if seen.torch else ""),
    )
    remedy = _torch_tensorrt_remedy(release, cuda_of(seen))
    if not version:
        why = "not installed; TorchServe serves tensorrt by it"
        return told(TORCH_TENSORRT, CheckState.MISSING, why, remedy)
    if release and _release(version) != release:
        why = f"{version} is built for torch {_release(version)}, and torch here is {release}"
        return told(TORCH_TENSORRT, CheckState.MISSING, why, remedy)
    return told(TORCH_TENSORRT, CheckState.OK, version)


def _torch_tensorrt_remedy(release: str, cuda: int) -> str:
    """Return how torch-tensorrt is installed: on PyPI it is for CUDA 13 alone, also that of torch 2.10."""
    if cuda == BEFORE:
        wanted = f"{TORCH_TENSORRT}=={release}.*" if release else TORCH_TENSORRT
        return f'pip install "{wanted}" --extra-index-url https://download.pytorch.org/whl/cu126'
    return f"pip install --upgrade {TORCH_TENSORRT} --extra-index-url {NVIDIA_INDEX}"


def _nvjpeg(seen: CudaSeen) -> Check:
    """Return whether torchvision can decode JPEG on a GPU: its builds for CPUs cannot."""
    subject, package = "torchvision (nvJPEG)", seen.torchvision
    remedy = torch_remedy(seen, vision=True)
    if package is None:
        why = "not installed; local processes decode JPEG on the CPU"
        return told(subject, CheckState.MISSING, why, remedy)
    if not package.cuda:
        why = f"{package.version} is built for CPUs, which decodes JPEG on the CPU"
        return told(subject, CheckState.MISSING, why, remedy)
    return told(subject, CheckState.OK, f"{package.version}, built for CUDA {package.cuda}")


def _dali(seen: CudaSeen) -> Check:
    there = _there(seen, DALI)
    if there:
        return told("DALI", CheckState.OK, there)
    why = "not installed; Triton's image brings its own"
    return told("DALI", CheckState.MISSING, why, f"pip install nvidia-dali-cuda{cuda_of(seen)}0")


def _cuda_python(seen: CudaSeen) -> Check:
    """Return whether Triton's client can put tensors into a GPU's memory."""
    there = _there(seen, (CUDA_BINDINGS,))
    if there:
        return told("cuda-python", CheckState.OK, there)
    why = "not installed; --serve-payload=cudashm needs it"
    return told("cuda-python", CheckState.MISSING, why, "pip install cuda-python")


def _there(seen: CudaSeen, names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {seen.installed[name]}" for name in names if name in seen.installed)


def _release(version: str) -> str:
    """Return 2.13 of ``2.13.0+cu130``; empty for no version."""
    try:
        read = Version(version)
    except InvalidVersion:
        return ""
    return f"{read.major}.{read.minor}"
