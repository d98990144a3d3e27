"""Asks NVML; the only file that imports pynvml. It only ever reads: no setting of a GPU is changed."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class NoGpuError(Exception):
    """There is no GPU to read; the text is why."""


class UnreadError(Exception):
    """One figure cannot be read; the text is why."""


def opened(nvml: ModuleType | None = None) -> ModuleType:
    """Return pynvml, or ``nvml`` in its place, initialised; raises `NoGpuError`.

    It counts its users inside the process and is left open: closing it would pull it from under
    another probe.
    """
    try:
        module = nvml or importlib.import_module("pynvml")
    except ImportError as error:
        raise NoGpuError("nvidia-ml-py is not installed") from error
    try:
        module.nvmlInit()
    except module.NVMLError as error:
        raise NoGpuError(f"no NVIDIA driver: {error}") from error
    return module


def ask(nvml: ModuleType, function: str, *arguments: object) -> Any:  # noqa: ANN401 (NVML's own)
    """Return what a function of NVML says; raises `UnreadError`.

    A function that these bindings lack is one figure that cannot be read, as is one that the driver lacks.
    """
    asked = getattr(nvml, function, None)
    if asked is None:
        raise UnreadError(f"the installed nvidia-ml-py has no {function}")
    try:
        return asked(*arguments)
    # It is no NVMLError: a function of these bindings that has a newer version than the driver's library.
    except (nvml.NVMLError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)) as error:
        raise UnreadError(f"the GPU cannot be read: {error}") from error


def text(value: str | bytes) -> str:
    """Return text; older bindings return bytes."""
    return value.decode() if isinstance(value, bytes) else value
