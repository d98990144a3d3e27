"""What runs one model file inside a server: an engine, chosen by the file and the format asked for.

A guest: shared by the servers in this folder, imports nothing of pytest_servebench. The engines lie beside
it (`onnx_engine`, `torch_engine`) and are imported when one is loaded, so that neither library is needed
by who uses the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[Any]
"""float32, or uint8 where the model's graph normalises the pixels itself."""
Switch = Literal["auto", "on", "off"]


class Engine(Protocol):
    """One loaded model. All but the loading is done by one thread: captured CUDA graphs belong to theirs."""

    name: str
    """The engine and the provider that really runs, e.g. ``onnxruntime CPUExecutionProvider``."""
    input_dtype: str
    """``float32`` or ``uint8``, as the model takes it."""
    graph_sizes: tuple[int, ...]
    """Batch sizes that have a CUDA graph, ascending; each is captured when it first runs."""

    def run(self, batch: Numbers) -> Floats:
        """Return logits float32 [n, classes] for [n, 3, height, width] of the dtype that it takes."""

    def pin(self, buffer: Numbers) -> None:
        """Make memory that many batches come in fast to copy to the GPU; it must outlive the engine."""

    def facts(self) -> dict[str, Any]:
        """Return what runs, as found in the loaded model, ready for JSON.

        ``engine`` (library and version), ``provider`` (of most nodes), ``device``, ``precision`` (None where
        it cannot be told), ``nodes`` by provider, ``options``.
        """


@dataclass(frozen=True)
class EngineOptions:
    """How a model file is to be run; what concerns another engine or device than the one there is left."""

    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:INDEX``."""
    threads: int = 2
    """On a CPU."""
    precision: str = "fp32"
    """The arithmetic; an onnx file carries its own, but for ``tf32`` and for TensorRT's choice of kernels."""
    format: str = ""
    """``tensorrt``: the file is compiled for the GPU; else what the file is."""
    input_dtype: str = ""
    """``float32`` or ``uint8``; empty: what the file says, else float32."""
    image_shape: tuple[int, int, int] = (3, 224, 224)
    """One image of a file that does not say it itself."""
    max_batch_size: int = 1
    """The largest batch that will come: shapes are fixed for it, and graphs are captured up to it."""
    cpu_fallback: bool = False
    """Whether the CPU may stand in for a GPU that cannot be had; the engine's name then says so."""
    io_binding: Literal["auto", "off", "cpu", "device"] = "auto"
    """onnxruntime: batches are bound, and where the output is computed to; auto: ``cpu`` on a GPU."""
    cuda_graphs: Switch = "off"
    """auto: with onnxruntime and a batch of one, where all shapes are one; its TensorRT has no other."""
    channels_last: bool = True
    """torch on a GPU: convolutions read NHWC, as tensor cores do."""
    graph_optimization: str = "all"
    """onnxruntime's level: ``disabled``, ``basic``, ``extended`` or ``all``."""
    provider_options: dict[str, Any] = field(default_factory=dict)
    """Further options of onnxruntime's CUDA provider, which go before ours."""
    tensorrt_workspace_bytes: int | None = None
    """Memory that TensorRT may try kernels with; None: its own choice."""
    cache_path: str = ""
    """Folder in which compiled engines are kept; empty: in the user's cache folder."""

    @property
    def gpu(self) -> int | None:
        """The GPU's index, None on a CPU."""
        kind, _, index = self.device.partition(":")
        return int(index or 0) if kind == "cuda" else None


def load_engine(path: Path, **options: Any) -> Engine:
    """Return an engine for ``path``, chosen by its suffix (``.onnx`` or ``.pt``).

    ``options`` are the fields of `EngineOptions`. Raises ``RuntimeError`` where the GPU, or what was asked
    of it, cannot be had, unless the CPU may stand in; ``ValueError`` for a file that no engine reads.
    """
    asked = EngineOptions(**options)
    if path.suffix == ".onnx":
        from onnx_engine import OnnxEngine

        return OnnxEngine(path, asked)
    if path.suffix == ".pt":
        from torch_engine import TorchEngine

        return TorchEngine(path, asked)
    raise ValueError(f"no engine for {path.name}: expected a .onnx or .pt file")


def graph_sizes(asked: EngineOptions) -> tuple[int, ...]:
    """Return the batch sizes that get a CUDA graph: exact ones, the powers of two and the largest.

    A batch of another size runs without: padding it would compute images that nobody sent, and the batch
    sizes a server reports would no longer be what it computes. ``auto`` has one only where every batch has
    the same size, since each size costs its capture and device memory of its own.
    """
    most = asked.max_batch_size
    if asked.gpu is None or asked.cuda_graphs == "off" or (asked.cuda_graphs == "auto" and most > 1):
        return ()
    powers = (1 << exponent for exponent in range(most.bit_length()))
    return tuple(sorted({*(size for size in powers if size < most), most}))
