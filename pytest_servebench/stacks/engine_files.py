"""The files of `handlers/` that an engine is made of: they lie side by side wherever a server runs one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_servebench.folders.shipped import shipped

ENGINE_FILES = (
    "engine.py",
    "gpu_identity.py",
    "onnx_binding.py",
    "onnx_engine.py",
    "onnx_file.py",
    "onnx_providers.py",
    "pinned_memory.py",
    "torch_engine.py",
    "torch_tensorrt_file.py",
)


def engine_files() -> Mapping[str, Path]:
    """Return where each of them is, by its name."""
    guests = shipped("handlers")
    return {name: guests / name for name in ENGINE_FILES}
