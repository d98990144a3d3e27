"""Looks around on this machine before a plan is made."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.k6.binary import find_k6
from pytest_servebench.launchers.docker import EngineFacts, engine_facts
from pytest_servebench.leasing.cores import physical_cores
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.telemetry.gpu_devices import Gpus, visible_devices

_BUILD = "build_and_package_info.py"
"""In which a build of ONNX Runtime says what it is."""
_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"


def look_around(gpus: Gpus, engine: EngineFacts | None = None) -> Surroundings:
    """Return what this machine offers to a plan; the ``engine`` is asked when not given."""
    engine, cores = engine or engine_facts(), physical_cores()
    return Surroundings(
        logical_cores=sum(map(len, cores)),
        cores=cores,
        cuda_devices=gpus.names,
        cuda_uuids=gpus.uuids,
        cuda_capabilities=gpus.capabilities,
        cuda_slots=gpus.slots,
        cuda_visible=visible_devices(),
        cuda_absent=gpus.absent,
        cuda_unusable="" if _cuda_packages() else cuda_unusable("onnxruntime"),
        docker_engine=engine.version,
        docker_absent=engine.absent,
        nvidia_runtime=engine.nvidia_runtime,
        k6=str(find_k6() or ""),
    )


def cuda_unusable(module: str) -> str:
    """Return why ONNX Runtime here cannot compute on a GPU, told by its files and without loading it.

    ``module`` is where it lies. Its build for CPUs, installed after the one for GPUs, leaves the latter's
    provider and takes its place. With the plugin for TensorRT-RTX it computes on a GPU too: tensorrt alone.
    """
    if find_spec(_PLUGIN) is not None:
        return ""
    spec = find_spec(module)
    folder = Path(spec.origin).parent / "capi" if spec and spec.origin else None
    if folder is None or not any(folder.glob("*providers_cuda*")):
        return "onnxruntime-gpu is not installed"
    with suppress(OSError):
        if "cuda_version" not in (folder / _BUILD).read_text(encoding="utf-8"):
            return "onnxruntime was installed over onnxruntime-gpu, of which there may be only one"
    return ""


def _cuda_packages() -> bool:
    return not cuda_unusable("onnxruntime")
