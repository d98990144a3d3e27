"""Which GPU and which libraries a compiled engine was made for: the key under which it is kept.

A guest. CUDA's driver is asked itself, so that no package is needed and none is imported on a machine without
a GPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""
_NAME_BYTES = 128


class GpuUnknownError(RuntimeError):
    """The driver does not tell which GPU it is; the text is why."""


def gpu_identity(index: int) -> str:
    """Return name and compute capability of the GPU that CUDA calls ``index``, e.g. ``NVIDIA T4 sm75``.

    Raises `GpuUnknownError`.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise GpuUnknownError(f"the CUDA driver cannot be asked: {error}") from error
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    steps: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (cuda.cuInit, (0,)),
        (cuda.cuDeviceGet, (ctypes.byref(device), index)),
        (cuda.cuDeviceGetName, (name, _NAME_BYTES, device)),
        (cuda.cuDeviceGetAttribute, (ctypes.byref(major), _MAJOR, device)),
        (cuda.cuDeviceGetAttribute, (ctypes.byref(minor), _MINOR, device)),
    )
    for call, arguments in steps:
        code = call(*arguments)
        if code:
            raise GpuUnknownError(f"CUDA does not know GPU {index}: error {code} of {call.__name__}")
    return f"{name.value.decode(errors='replace')} sm{major.value}{minor.value}"


def engine_folder(cache_path: str, model_path: Path, *identity: str) -> Path:
    """Return the folder, made, for engines compiled of this very file under this very ``identity``.

    ``identity`` is whatever another value of makes another engine: GPU, library versions, precision, shapes.
    """
    root = Path(cache_path) if cache_path else _default_root()
    with model_path.open("rb") as file:
        model = _digest(file)
    key = hashlib.sha256("\n".join((model.hexdigest(), *identity)).encode()).hexdigest()[:16]
    readable = "".join(each if each.isalnum() else "-" for each in identity[0])
    folder = root / f"{model_path.stem}-{readable}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _default_root() -> Path:
    chosen = os.environ.get("SERVEBENCH_CACHE")
    if chosen:
        return Path(chosen) / "engines"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "pytest-servebench" / "engines"


def _digest(file: BinaryIO) -> Any:
    # hashlib.file_digest is of Python 3.11.
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest
