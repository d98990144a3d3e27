"""Runs one model file inside a server: onnxruntime or torch behind one call.

A guest: shared by the servers in this folder, imports nothing of pytest_servebench.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Engine(Protocol):
    """One loaded model."""

    name: str
    """The engine and the provider that really runs, e.g. ``onnxruntime CPUExecutionProvider``."""

    def run(self, batch: Floats) -> Floats:
        """Return logits float32 [n, classes] for float32 [n, 3, height, width]."""


GRAPH_OPTIMIZATIONS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""onnxruntime's graph optimisation levels by the word a user sets."""


class OnnxEngine:
    """A model.onnx in an onnxruntime session."""

    def __init__(
        self,
        path: Path,
        *,
        device: str,
        threads: int,
        provider_options: dict[str, Any],
        graph_optimization: str,
        cpu_fallback: bool,
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        level = GRAPH_OPTIMIZATIONS[graph_optimization]
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads burn the cores the client and the other stacks' threads need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            # Without it onnxruntime takes GPU 0, whichever was asked for.
            gpu = int(device.partition(":")[2] or 0)
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu, **provider_options}))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self.name = f"onnxruntime {self._session.get_providers()[0]}"
        fell_back = device.startswith("cuda") and "CUDAExecutionProvider" not in self.name
        if fell_back and not cpu_fallback:
            raise RuntimeError(f"asked for {device}, but onnxruntime fell back to {self.name}")
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: Floats) -> Floats:
        (logits,) = self._session.run(None, {self._input: batch})
        return np.asarray(logits, dtype=np.float32)


class TorchEngine:
    """A TorchScript model.pt in libtorch; half precision by autocast on CUDA only."""

    def __init__(self, path: Path, *, device: str, threads: int, precision: str, cpu_fallback: bool) -> None:
        import torch

        if cpu_fallback and not torch.cuda.is_available():
            device = "cpu"
        torch.set_num_threads(threads)
        self._torch = torch
        self._device = torch.device(device)
        self._autocast = precision == "fp16" and self._device.type == "cuda"
        self._module = torch.jit.load(str(path), map_location=self._device).eval()
        self.name = f"torch {self._device}"

    def run(self, batch: Floats) -> Floats:
        torch = self._torch
        with torch.inference_mode(), torch.autocast("cuda", enabled=self._autocast):
            tensor = torch.from_numpy(np.require(batch, requirements="W")).to(self._device)
            return np.asarray(self._module(tensor).float().cpu().numpy())


def load_engine(
    path: Path,
    *,
    device: str = "cpu",
    threads: int = 2,
    precision: str = "fp32",
    provider_options: dict[str, Any] | None = None,
    graph_optimization: str = "all",
    cpu_fallback: bool = False,
) -> Engine:
    """Return an engine for ``path``, chosen by its suffix (``.onnx`` or ``.pt``).

    ``provider_options`` and ``graph_optimization`` (see `GRAPH_OPTIMIZATIONS`) are
    onnxruntime's; ``device_id`` is that of ``device`` unless given. With ``cpu_fallback``
    a GPU that cannot be had is replaced by the CPU, and the engine's name says so;
    without it that is a ``RuntimeError``.
    """
    if path.suffix == ".onnx":
        return OnnxEngine(
            path,
            device=device,
            threads=threads,
            provider_options=provider_options or {},
            graph_optimization=graph_optimization,
            cpu_fallback=cpu_fallback,
        )
    if path.suffix == ".pt":
        return TorchEngine(
            path, device=device, threads=threads, precision=precision, cpu_fallback=cpu_fallback
        )
    raise ValueError(f"no engine for {path.name}: expected a .onnx or .pt file")
