"""Looks around on this machine before a plan is made."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pytest_servebench.cores import physical_cores
from pytest_servebench.k6.binary import find_k6
from pytest_servebench.launchers.docker import EngineFacts, engine_facts
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.telemetry.gpu_devices import Gpus, visible_devices


def look_around(gpus: Gpus, engine: EngineFacts | None = None) -> Surroundings:
    """Return what this machine offers to a plan; the ``engine`` is asked when not given."""
    engine, cores = engine or engine_facts(), physical_cores()
    return Surroundings(
        logical_cores=sum(map(len, cores)),
        cores=cores,
        cuda_devices=gpus.names,
        cuda_uuids=gpus.uuids,
        cuda_slots=gpus.slots,
        cuda_visible=visible_devices(),
        cuda_absent=gpus.absent,
        cuda_unusable="" if _cuda_packages() else "onnxruntime-gpu is not installed",
        docker_engine=engine.version,
        docker_absent=engine.absent,
        nvidia_runtime=engine.nvidia_runtime,
        k6=str(find_k6() or ""),
    )


def _cuda_packages() -> bool:
    """Return whether ONNX Runtime here has its CUDA provider; told by its library, without loading it."""
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return False
    return any((Path(spec.origin).parent / "capi").glob("*providers_cuda*"))
