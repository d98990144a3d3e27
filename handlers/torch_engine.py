"""Runs a TorchScript model.pt in libtorch: on a CPU, on a GPU, or compiled by Torch-TensorRT.

A guest, loaded by `engine`. There is no ``torch.compile`` here: it compiles Python code, and TorchScript has
none left.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from engine import EngineOptions, Floats, Numbers, graph_sizes
from pinned_memory import pin
from torch_tensorrt_file import compiled_file, fed_dtype

_HALVES = {"fp16": "float16", "bf16": "bfloat16"}
_TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""0 forbids TF32 to cuBLAS and cuDNN, whatever torch's switches say."""
_WARM_UP_RUNS = 3
"""Before a capture, on a stream of its own, as torch's notes on CUDA graphs ask for; the second run of a
TorchScript module optimises it."""


class TorchEngine:
    """A TorchScript model.pt in libtorch; an `Engine`.

    In half precision the weights of convolutions and products are kept in it, and autocast does the rest:
    what it computes is what autocast alone computes, without turning the weights again in each run.
    ``half()`` would take the statistics of batch normalisation along, and fail where a graph itself turns
    uint8 to float.
    """

    def __init__(self, path: Path, asked: EngineOptions) -> None:
        import torch

        self._torch = torch
        self._asked = asked
        device = asked.device
        if asked.cpu_fallback and not torch.cuda.is_available():
            device = "cpu"
        torch.set_num_threads(asked.threads)
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        if asked.format == "tensorrt" and not self._on_gpu:
            raise RuntimeError(f"asked for tensorrt, which needs a GPU, and this runs on {device}")
        self._compiled = asked.format == "tensorrt"
        self.input_dtype = asked.input_dtype or "float32"
        self._half = self._half_of(asked)
        if self._on_gpu:
            torch.backends.cuda.matmul.allow_tf32 = asked.precision == "tf32"
            torch.backends.cudnn.allow_tf32 = asked.precision == "tf32"
            _fuse_nothing(torch)
        self._channels_last = self._on_gpu and asked.channels_last and not self._compiled
        with self._here():
            self._module = self._load(path)
        wanted = self._on_gpu and asked.cuda_graphs == "on" and not self._compiled
        self.graph_sizes = graph_sizes(asked) if wanted else ()
        self._graphs: dict[int, tuple[Any, Any, Any]] = {}
        self._pinned = False
        self.name = f"torch {self._device}"

    def run(self, batch: Numbers) -> Floats:
        """Return the logits of ``batch``."""
        torch = self._torch
        with self._here(), torch.inference_mode():
            tensor = torch.from_numpy(np.require(batch, requirements="W"))
            if len(batch) in self.graph_sizes:
                return self._numbers(self._replay(tensor))
            tensor = tensor.to(self._device, non_blocking=True)
            if self._compiled:
                tensor = tensor.to(getattr(torch, fed_dtype(self._asked)))
            if self._channels_last:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            return self._numbers(self._forward(tensor))

    def pin(self, buffer: Numbers) -> None:
        """Pin the memory of many batches, where a GPU reads it."""
        if self._on_gpu:
            # Not by torch.cuda.cudart(): it has no call that forgets the error of a refusal.
            with self._here():
                self._pinned = pin(buffer, str(self._torch.version.cuda))

    def facts(self) -> dict[str, Any]:
        """Return what runs, as the module and torch's switches say; libtorch has no providers to count."""
        provider = "torch_tensorrt" if self._compiled else "libtorch"
        return {
            "engine": f"torch {self._torch.__version__}",
            "provider": provider,
            "device": f"cuda:{self._asked.gpu}" if self._on_gpu else "cpu",
            "precision": self._precision_found(),
            "nodes": {},
            "options": self._options_found(),
        }

    def _here(self) -> AbstractContextManager[Any]:
        """Return what makes this engine's GPU the current one of the thread that runs inside.

        Another stays 0, whose memory would be taken for a context, whose stream a capture would use, and on
        which Torch-TensorRT would put what it loads (``get_most_compatible_device`` in its ``runtime.cpp``).
        """
        return self._torch.cuda.device(self._asked.gpu) if self._on_gpu else nullcontext()

    def _half_of(self, asked: EngineOptions) -> Any:
        """Return the dtype of autocast, None without; as ever, fp16 is for GPUs alone."""
        name = _HALVES.get(asked.precision, "")
        if not name or self._compiled or (name == "float16" and not self._on_gpu):
            return None
        return getattr(self._torch, name)

    def _load(self, path: Path) -> Any:
        torch = self._torch
        if self._compiled:
            path = compiled_file(path, self._asked)
        with warnings.catch_warnings():
            # torch announces the end of TorchScript at each load; it is the format that is served here.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path), map_location=self._device).eval()
        if self._half is not None:
            for weights in module.parameters():
                if weights.dim() > 1:
                    weights.data = weights.data.to(self._half)
        return module.to(memory_format=torch.channels_last) if self._channels_last else module

    def _forward(self, tensor: Any) -> Any:
        with self._autocast():
            return self._module(tensor)

    def _autocast(self) -> AbstractContextManager[Any]:
        kind = self._device.type if self._half is not None else "cuda"
        # Its cache must not outlive a capture, and has nothing to keep: the weights are turned already.
        context: AbstractContextManager[Any] = self._torch.autocast(
            kind, dtype=self._half, enabled=self._half is not None, cache_enabled=False
        )
        return context

    def _replay(self, tensor: Any) -> Any:
        size = len(tensor)
        if size not in self._graphs:
            self._graphs[size] = self._capture(tensor)
        graph, static_input, static_output = self._graphs[size]
        static_input.copy_(tensor, non_blocking=True)
        graph.replay()
        return static_output

    def _capture(self, tensor: Any) -> tuple[Any, Any, Any]:
        """Return the graph of one batch size, with what it reads and writes."""
        cuda = self._torch.cuda
        static_input = tensor.to(self._device)
        if self._channels_last:
            static_input = static_input.contiguous(memory_format=self._torch.channels_last)
        beside = cuda.Stream(self._device)
        beside.wait_stream(cuda.current_stream(self._device))
        with cuda.stream(beside):
            for _ in range(_WARM_UP_RUNS):
                self._forward(static_input)
        cuda.current_stream(self._device).wait_stream(beside)
        graph = cuda.CUDAGraph()
        # Left alone, torch captures all graphs of a process on one stream, of the GPU that was current first;
        # and a capture would break whatever other threads, which may decode images, ask of CUDA meanwhile.
        with cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
            static_output = self._forward(static_input)
        return graph, static_input, static_output

    def _numbers(self, output: Any) -> Floats:
        return np.asarray(output.float().cpu().numpy())

    def _precision_found(self) -> str | None:
        if self._compiled:
            # It was compiled for one, and tells no more of what its kernels are.
            return self._asked.precision
        elements: Counter[str] = Counter()
        for weights in self._module.parameters():
            elements[str(weights.dtype).removeprefix("torch.")] += weights.numel()
        most = max(elements, key=lambda each: elements[each]) if elements else ""
        halves = {name: word for word, name in _HALVES.items()}
        if most != "float32":
            return halves.get(most)
        return "tf32" if self._has_tf32() else "fp32"

    def _has_tf32(self) -> bool:
        backends = self._torch.backends
        if os.environ.get(_TF32_OVERRIDE) == "0":
            return False
        return self._on_gpu and bool(backends.cuda.matmul.allow_tf32 and backends.cudnn.allow_tf32)

    def _options_found(self) -> dict[str, str]:
        found = {
            "memory_format": "channels_last" if self._channels_last else "contiguous",
            "autocast": "off" if self._half is None else str(self._half).removeprefix("torch."),
        }
        if self._on_gpu:
            found["cuda_graphs"] = ",".join(map(str, self.graph_sizes)) or "off"
            found["pinned_input"] = "on" if self._pinned else "off"
            found["tf32"] = "on" if self._has_tf32() else "off"
            found["fusion"] = "on" if _switches(self._torch)._jit_texpr_fuser_enabled() else "off"  # noqa: SLF001 (see there)
        return found


def _fuse_nothing(torch: Any) -> None:
    """Have TorchScript compile no kernels on a GPU, as ``torch.jit.fuser("none")`` does for a while.

    Left alone it does at the second run and again for batches of new sizes, for seconds each (PyTorch issues
    56245 and 52286), in which a server that batches as requests come would be measured; it takes NVRTC, and
    fused kernels round otherwise than the first run (74534). Triton's PyTorch backend is told as much.
    """
    switches = _switches(torch)
    switches._jit_set_texpr_fuser_enabled(False)  # noqa: SLF001 (see there)
    # The fuser before that one, which would stand in for it.
    switches._jit_override_can_fuse_on_gpu(False)  # noqa: SLF001 (as above)


def _switches(torch: Any) -> Any:
    """Return where torch keeps the switches of its fusers: they have no public names."""
    return torch._C  # noqa: SLF001 (they are nowhere else)
