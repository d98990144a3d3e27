"""What machine this is, for the record."""

from __future__ import annotations

import importlib
import platform
from functools import cache
from importlib import metadata
from typing import Any

import psutil

from pytest_servebench.telemetry.gpu_devices import Gpus, gpu_names

PACKAGES = (
    "pytest-servebench",
    "pytest",
    "pytest-benchmark",
    "numpy",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "fastapi",
    "uvicorn",
    "nvidia-pytriton",
    "tritonclient",
    "torchserve",
)
"""Packages whose version can change a figure."""


def machine_facts(gpus: Gpus | None = None) -> dict[str, Any]:
    """Return the facts that figures depend on, ready for JSON; None where one cannot be had.

    ``gpus`` are asked of NVML when not given.
    """
    gpus = gpus or gpu_names()
    return {
        "cpu": _cpu_model(),
        "cores_logical": psutil.cpu_count(logical=True),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_usable": len(psutil.Process().cpu_affinity()),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gpus": list(gpus.names),
        "gpu_driver": gpus.driver,
        "gpu_absent": gpus.absent or None,
        "packages": {name: _version(name) for name in PACKAGES},
    }


@cache
def _cpu_model() -> str | None:
    """Return the processor's own name; asked once, for it takes 0.2 s."""
    try:
        # It comes with pytest-benchmark.
        cpuinfo = importlib.import_module("cpuinfo")
    except ImportError:
        return platform.processor() or None
    name = cpuinfo.get_cpu_info().get("brand_raw")
    return str(name) if name else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
