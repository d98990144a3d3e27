"""What must be installed before an engine here can compile a model for a GPU; imports none of it."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes.util import find_library
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.plan import MissingPiece

RTX_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
"""TensorRT for RTX, a plugin of onnxruntime that brings its libraries."""
_LIBRARIES = "tensorrt_libs"
_NVINFER = "libnvinfer.so.10"
"""What the provider of onnxruntime up to 1.31 is linked against; the package's newest release is of 11."""


def missing_for_onnx() -> Iterator[MissingPiece]:
    """Yield what onnxruntime lacks to compile an onnx file: one of its two TensorRT providers."""
    has_provider = _is_installed("onnxruntime-gpu")
    if find_spec(RTX_PACKAGE) is not None and not has_provider:
        return
    if not has_provider:
        yield MissingPiece(
            what="onnxruntime-gpu, which has the TensorRT provider",
            remedy="pip uninstall onnxruntime && pip install onnxruntime-gpu; "
            "or, on an RTX GPU, pip install onnxruntime-ep-nv-tensorrt-rtx",
        )
    if not _has_tensorrt():
        yield MissingPiece(
            what="TensorRT 10, which that provider was built against",
            remedy='pip install "tensorrt-cu13-libs<11" --extra-index-url https://pypi.nvidia.com',
        )


def missing_for_torch() -> Iterator[MissingPiece]:
    """Yield what torch lacks to compile a TorchScript file."""
    if find_spec("torch_tensorrt") is None:
        yield MissingPiece(
            what="the package torch-tensorrt, which compiles TorchScript",
            remedy="pip install --upgrade torch-tensorrt --extra-index-url https://pypi.nvidia.com",
        )


def _has_tensorrt() -> bool:
    spec = find_spec(_LIBRARIES)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return any((Path(each) / _NVINFER).exists() for each in folders) or find_library("nvinfer") == _NVINFER


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
