"""Runs an onnxruntime session with bound inputs and outputs, and captured CUDA graphs for some batch sizes.

A guest. A graph replays the kernels of one batch size on one pair of device buffers; onnxruntime keeps it
under the run option ``gpu_graph_id`` (here: the batch size), in the thread that captured it, once that size
has run often enough. The id 0 is onnxruntime's own, and -1 is a run without ("Using CUDA Graphs",
onnxruntime's CUDA provider). Its TensorRT provider reads no id and keeps one graph: see `onnx_providers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from engine import Numbers

_GRAPH_ID = "gpu_graph_id"
_NO_GRAPH = "-1"
_OUTPUT_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class NotCapturedError(RuntimeError):
    """The first run of a batch size failed, in which its graph is captured; the text is why."""


@dataclass(frozen=True)
class _Fixed:
    """What one captured graph reads and writes."""

    binding: Any
    run_options: Any
    input: Any
    output: Any


class BoundSession:
    """A session whose batches are bound; ``gpu`` is None on a CPU."""

    def __init__(
        self,
        onnxruntime: Any,
        session: Any,
        *,
        gpu: int | None,
        output_at: Literal["cpu", "device"],
        graph_sizes: tuple[int, ...] = (),
    ) -> None:
        self._onnxruntime = onnxruntime
        self._session = session
        self._gpu = gpu
        self._graph_sizes = graph_sizes
        self._output_at = ("cpu", 0) if gpu is None or output_at == "cpu" else ("cuda", gpu)
        self._input, self._output = session.get_inputs()[0].name, session.get_outputs()[0].name
        self._binding = session.io_binding()
        self._no_graph = self._run_options(_NO_GRAPH) if graph_sizes else None
        self._fixed: dict[int, _Fixed] = {}

    def run(self, batch: Numbers) -> Numbers:
        """Return the output for ``batch``, by its size's graph if it has one; raises `NotCapturedError`."""
        batch = np.ascontiguousarray(batch)
        if len(batch) in self._graph_sizes:
            return self._replay(batch)
        self._binding.bind_cpu_input(self._input, batch)
        # Bound anew each time: the output of the last run, of another size, would be taken for a buffer.
        self._binding.bind_output(self._output, *self._output_at)
        self._session.run_with_iobinding(self._binding, self._no_graph)
        (output,) = self._binding.copy_outputs_to_cpu()
        return np.asarray(output)

    def _replay(self, batch: Numbers) -> Numbers:
        fixed = self._fixed.get(len(batch))
        return self._capture(batch) if fixed is None else self._run_on(fixed, batch)

    def _capture(self, batch: Numbers) -> Numbers:
        """Run this size for the first time: onnxruntime repeats it within the call until it has the graph."""
        try:
            fixed = self._fix(batch)
            output = self._run_on(fixed, batch)
        except Exception as error:
            why = f"the CUDA graph of {len(batch)} image(s) cannot be captured: {error}"
            raise NotCapturedError(f"{why}; CUDA_GRAPHS=off does without") from error
        self._fixed[len(batch)] = fixed
        return output

    def _run_on(self, fixed: _Fixed, batch: Numbers) -> Numbers:
        fixed.input.update_inplace(batch)
        self._session.run_with_iobinding(fixed.binding, fixed.run_options)
        return np.asarray(fixed.output.numpy())

    def _fix(self, batch: Numbers) -> _Fixed:
        """Return buffers on the device for batches of this size; their first run captures the graph."""
        (told, *_) = self._session.get_outputs()
        _, *rest = told.shape
        if told.type not in _OUTPUT_DTYPES or not all(isinstance(size, int) for size in rest):
            raise RuntimeError(f"the output is {told.type} {told.shape}, for which no buffer can be made")
        make = self._onnxruntime.OrtValue.ortvalue_from_shape_and_type
        binding = self._session.io_binding()
        value = make(list(batch.shape), batch.dtype.type, "cuda", self._gpu)
        output = make([len(batch), *rest], _OUTPUT_DTYPES[told.type], "cuda", self._gpu)
        binding.bind_ortvalue_input(self._input, value)
        binding.bind_ortvalue_output(self._output, output)
        return _Fixed(binding, self._run_options(str(len(batch))), value, output)

    def _run_options(self, graph_id: str) -> Any:
        options = self._onnxruntime.RunOptions()
        options.add_run_config_entry(_GRAPH_ID, graph_id)
        return options
