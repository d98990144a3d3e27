"""Runs a model.onnx in an onnxruntime session: on a CPU, by CUDA, or compiled by TensorRT.

A guest, loaded by `engine`.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from engine import EngineOptions, Floats, Numbers, graph_sizes
from onnx_binding import BoundSession, NotCapturedError
from onnx_file import OnnxFile, read_onnx
from onnx_providers import CPU, CUDA, TENSORRT, TENSORRT_RTX, TF32_OVERRIDE, Providers, providers_of
from pinned_memory import pin

GRAPH_OPTIMIZATIONS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""onnxruntime's graph optimisation levels by the word a user sets."""
_INPUT_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
_TENSORRT_FLAGS = {"trt_int8_enable": "int8", "trt_fp16_enable": "fp16", "trt_bf16_enable": "bf16"}
WITHOUT_INT32_BIASES = (
    "optimization.disable_specified_optimizers",
    "WeightBiasQuantization;BiasQuantization",
)
"""Session option for TensorRT: before any provider sees a QDQ graph, onnxruntime since 1.21 rounds its biases
to int32 (microsoft/onnxruntime#22889, there under the second name), and TensorRT reads no DequantizeLinear of
int32 (#14229)."""
_RECORD_NODES = "session.record_ep_graph_assignment_info"
log = logging.getLogger("uvicorn.error")


class OnnxEngine:
    """A model.onnx in an onnxruntime session; an `Engine`."""

    def __init__(self, path: Path, asked: EngineOptions) -> None:
        import onnxruntime

        self._onnxruntime = onnxruntime
        if asked.gpu is not None and hasattr(onnxruntime, "preload_dlls"):
            # CUDA's libraries may lie in Python packages, where the linker does not look.
            onnxruntime.preload_dlls()
        self._path, self._file = path, read_onnx(path)
        self._pinned = False
        self._load(asked)
        (first, *_) = self._session.get_inputs()
        self._input, self.input_dtype = first.name, _input_dtype(first.type, asked.input_dtype)

    def _load(self, asked: EngineOptions) -> None:
        self._session, self._asked, self._wanted = self._open(self._path, asked)
        registered = self._session.get_providers()
        self.name = f"onnxruntime {registered[0]}"
        if self._wanted not in registered and not asked.cpu_fallback:
            raise RuntimeError(
                f"asked for {_words(asked)}, but onnxruntime fell back to {self.name}: "
                "its own lines above say why, and servebench doctor what to install"
            )
        can_capture = self._wanted in registered and self._wanted in {CUDA, TENSORRT}
        self.graph_sizes = graph_sizes(self._asked) if can_capture else ()
        self._bound = self._bind()

    def run(self, batch: Numbers) -> Floats:
        """Return the logits of ``batch``."""
        if self._bound is not None:
            try:
                return np.asarray(self._bound.run(batch), dtype=np.float32)
            except NotCapturedError as error:
                if self._asked.cuda_graphs != "auto":
                    raise
                log.warning("no CUDA graphs: %s", error)
            return self._without_graphs().run(batch)
        (logits,) = self._session.run(None, {self._input: batch})
        return np.asarray(logits, dtype=np.float32)

    def _without_graphs(self) -> OnnxEngine:
        """Return this engine with another session: one with graphs captures at each size's first run."""
        self._bound = self._session = None
        self._load(replace(self._asked, cuda_graphs="off"))
        return self

    def pin(self, buffer: Numbers) -> None:
        """Pin the memory of many batches, where a GPU reads it."""
        if self._on_gpu:
            self._pinned = pin(buffer, str(getattr(self._onnxruntime, "cuda_version", "")))

    def facts(self) -> dict[str, Any]:
        """Return what runs, as the session says; an older onnxruntime does not say whose the nodes are."""
        nodes = self._nodes()
        registered = self._session.get_providers()
        return {
            "engine": f"onnxruntime {self._onnxruntime.__version__}",
            "provider": max(nodes, key=lambda each: nodes[each]) if nodes else registered[0],
            "device": f"cuda:{self._asked.gpu}" if self._on_gpu else "cpu",
            "precision": precision_found(self._file, registered, self._session.get_provider_options()),
            "nodes": nodes,
            "options": self._options_found(),
        }

    @property
    def _on_gpu(self) -> bool:
        return self._asked.gpu is not None and self._session.get_providers()[0] != CPU

    def _open(self, path: Path, asked: EngineOptions) -> tuple[Any, EngineOptions, str]:
        """Return the session, and what was asked but for graphs that ``auto`` could not have."""
        try:
            providers = providers_of(asked, path, self._file, self._onnxruntime)
            return self._session_of(path, asked, providers), asked, providers.wanted
        except Exception as error:
            # Another fault would only be met again, after minutes where TensorRT compiles.
            if asked.cuda_graphs == "auto" and graph_sizes(asked) and "graph" in str(error).lower():
                log.warning("no CUDA graphs: %s", error)
                return self._open(path, replace(asked, cuda_graphs="off"))
            if asked.gpu is None or not asked.cpu_fallback:
                raise
            log.warning("the CPU stands in for %s: %s", asked.device, error)
            return self._open(path, replace(asked, device="cpu", format=""))

    def _session_of(self, path: Path, asked: EngineOptions, providers: Providers) -> Any:
        options = self._session_options(asked)
        if asked.gpu is None:
            return self._onnxruntime.InferenceSession(str(path), options, providers=list(providers.listed))
        if providers.devices:
            options.add_provider_for_devices(list(providers.devices), providers.device_options)
            session = self._onnxruntime.InferenceSession(str(path), options, enable_fallback=0)
        else:
            listed = list(providers.listed)
            # Left alone, a session that cannot have its GPU prints so and goes on; a run that fails, as well.
            session = self._onnxruntime.InferenceSession(
                str(path), options, providers=listed, enable_fallback=int(asked.cpu_fallback)
            )
        session.disable_fallback()
        return session

    def _session_options(self, asked: EngineOptions) -> Any:
        options = self._onnxruntime.SessionOptions()
        level = GRAPH_OPTIMIZATIONS[asked.graph_optimization]
        options.graph_optimization_level = getattr(self._onnxruntime.GraphOptimizationLevel, level)
        options.intra_op_num_threads = asked.threads
        options.inter_op_num_threads = 1
        # Spinning threads burn the cores the client and the other stacks' threads need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(_RECORD_NODES, "1")
        if asked.format == "tensorrt":
            options.add_session_config_entry(*WITHOUT_INT32_BIASES)
        return options

    def _bind(self) -> BoundSession | None:
        how = self._asked.io_binding
        if how == "auto":
            how = "cpu" if self._on_gpu else "off"
        if how == "off" and not self.graph_sizes:
            return None
        where: Literal["cpu", "device"] = "device" if how == "device" else "cpu"
        return BoundSession(
            self._onnxruntime,
            self._session,
            gpu=self._asked.gpu if self._on_gpu else None,
            output_at=where,
            graph_sizes=self.graph_sizes,
        )

    def _nodes(self) -> dict[str, int]:
        tell = getattr(self._session, "get_provider_graph_assignment_info", None)
        counted: Counter[str] = Counter()
        try:
            for part in tell() if tell else ():
                counted[part.ep_name] += len(part.get_nodes())
        except RuntimeError as error:
            # Not known is an answer; a server that computes is not unhealthy for it.
            log.warning("whose the nodes are cannot be told: %s", error)
            return {}
        return dict(counted)

    def _options_found(self) -> dict[str, str]:
        found = {"io_binding": _switch(self._bound is not None)}
        if not self._on_gpu:
            return found
        registered = self._session.get_provider_options()
        cuda = registered.get(CUDA, {})
        compiled = registered.get(TENSORRT, {})
        graphs = compiled.get("trt_cuda_graph_enable") if compiled else cuda.get("enable_cuda_graph")
        found |= {
            "cuda_graphs": ",".join(map(str, self.graph_sizes)) if graphs == "1" else "off",
            "pinned_input": _switch(self._pinned),
            "tf32": _switch(_has_tf32(registered)),
        }
        named = {"prefer_nhwc": "prefer_nhwc", "conv_search": "cudnn_conv_algo_search"}
        found |= {word: str(cuda[key]) for word, key in named.items() if key in cuda}
        if compiled:
            found["engine_cache"] = _switch(compiled.get("trt_engine_cache_enable") == "1")
        return found


def precision_found(
    file: OnnxFile, registered: list[str], provider_options: dict[str, dict[str, str]]
) -> str | None:
    """Return the arithmetic: that of the weights, but what TensorRT may compute fp32 weights in instead.

    ``fp32`` on a GPU means that TF32 is off, by the provider's option or, with TensorRT, the environment.
    """
    if file.precision != "fp32" or registered[0] == CPU:
        return file.precision
    flags = provider_options.get(TENSORRT, {})
    chosen = next((word for flag, word in _TENSORRT_FLAGS.items() if flags.get(flag) == "1"), "")
    return chosen or ("tf32" if _has_tf32(provider_options) else "fp32")


def _has_tf32(provider_options: dict[str, dict[str, str]]) -> bool:
    if os.environ.get(TF32_OVERRIDE) == "0":
        return False
    compiled = TENSORRT in provider_options or TENSORRT_RTX in provider_options
    # The provider that says nothing of it is an older one, which had it on.
    return compiled or provider_options.get(CUDA, {}).get("use_tf32", "1") == "1"


def _input_dtype(onnx_type: str, asked: str) -> str:
    found = _INPUT_DTYPES.get(onnx_type)
    if found is None or asked not in {"", found}:
        wanted = asked or "float32 or uint8"
        raise RuntimeError(f"the model's input is {onnx_type}, and {wanted} was asked for")
    return found


def _words(asked: EngineOptions) -> str:
    return f"{asked.format} on {asked.device}" if asked.format else asked.device


def _switch(on: bool) -> str:
    return "on" if on else "off"
