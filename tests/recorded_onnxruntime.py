"""A stand-in for onnxruntime that records what a session is asked for, and computes nothing.

It has the calls of onnxruntime-gpu 1.31 that an engine uses, and refuses what the true ones refuse.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

SIDE, CLASSES = 8, 5
FLOAT, UINT8, INT8, FLOAT16, BFLOAT16 = 1, 2, 3, 10, 16


def onnx_file(path: Path, *, weights: int = FLOAT, takes: int = FLOAT, side: int | str = SIDE) -> Path:
    """Write a model [n, 3, side, side] to [n, 5]: the mean of each channel times weights of that type."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kinds = {FLOAT: TensorProto.FLOAT, UINT8: TensorProto.UINT8}
    values = np.arange(3 * CLASSES, dtype=np.float32).reshape(3, CLASSES) / 4
    tensor = numpy_helper.from_array(values, "w")
    nodes, initializers = [helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT)], [tensor]
    if weights in {FLOAT16, BFLOAT16}:
        nodes.append(helper.make_node("Cast", ["w"], ["float w"], to=TensorProto.FLOAT))
        data = values.astype(np.float16).tobytes() if weights == FLOAT16 else _bfloat16(values)
        initializers = [helper.make_tensor("w", weights, values.shape, data, raw=True)]
    elif weights == INT8:
        scale = helper.make_tensor("scale", FLOAT, [], [0.25])
        nodes.append(helper.make_node("DequantizeLinear", ["w", "scale"], ["float w"]))
        initializers = [numpy_helper.from_array(np.arange(15, dtype=np.int8).reshape(3, 5), "w"), scale]
    product = "w" if weights == FLOAT else "float w"
    nodes += [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", product], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input", kinds[takes], ["n", 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", CLASSES])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def _bfloat16(values: npt.NDArray[np.float32]) -> bytes:
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


@dataclass
class Value:
    """Memory on a device."""

    shape: list[int]
    dtype: Any
    device: str
    index: int
    array: npt.NDArray[Any] | None = None

    def update_inplace(self, array: npt.NDArray[Any]) -> None:
        assert list(array.shape) == self.shape
        self.array = array

    def numpy(self) -> npt.NDArray[Any]:
        return np.full(self.shape, 7, self.dtype)


@dataclass
class Binding:
    """What was bound, newest last."""

    inputs: list[tuple[str, Any]] = field(default_factory=list)
    outputs: list[tuple[str, Any]] = field(default_factory=list)

    def bind_cpu_input(self, name: str, array: npt.NDArray[Any]) -> None:
        assert array.flags.c_contiguous
        self.inputs.append((name, array))

    def bind_output(self, name: str, device: str, index: int) -> None:
        self.outputs.append((name, (device, index)))

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.inputs.append((name, value))

    def bind_ortvalue_output(self, name: str, value: Value) -> None:
        self.outputs.append((name, value))

    def copy_outputs_to_cpu(self) -> list[npt.NDArray[np.float32]]:
        return [np.full((len(self.inputs[-1][1]), CLASSES), 3, np.float32)]


class RecordedOptions:
    """Session options and their entries."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.devices: tuple[list[Any], dict[str, str]] | None = None

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        assert all(isinstance(value, str) for value in options.values())
        self.devices = (devices, options)


class RecordedRunOptions:
    """Run options, as a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class RecordedOnnxruntime:
    """Stands where the module ``onnxruntime`` would.

    ``has`` are the providers that the package has, ``works`` those that come up: the others a session goes
    without, as the true one does when a library or the driver is not there.
    """

    __version__ = "1.31.1"
    cuda_version = "13.0"
    GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL="all")
    SessionOptions = RecordedOptions
    RunOptions = RecordedRunOptions

    def __init__(self, *has: str, works: tuple[str, ...] | None = None, takes: str = "tensor(float)") -> None:
        self.has = (*has, "CPUExecutionProvider")
        self.works = (*(has if works is None else works), "CPUExecutionProvider")
        self.takes = takes
        self.sessions: list[Session] = []
        self.preloaded = 0
        self.registered: list[tuple[str, str]] = []
        self.ep_devices: list[Any] = []
        self.refuses = ""
        """A provider option with which no session can be made."""
        self.uncapturable = ""
        """Why no graph can be captured when a batch first runs; empty: it can."""
        self.output: tuple[str, list[Any]] = ("tensor(float)", ["n", CLASSES])
        self.nodes: dict[str, int] = {}
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=Value)

    def get_available_providers(self) -> list[str]:
        return list(self.has)

    def preload_dlls(self) -> None:
        self.preloaded += 1

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if (name, path) in self.registered:
            raise RuntimeError(f"library is already registered under {name}")
        self.registered.append((name, path))

    def get_ep_devices(self) -> list[Any]:
        names = {name for name, _ in self.registered} | {"CPUExecutionProvider"}
        return [device for device in self.ep_devices if device.ep_name in names]

    def InferenceSession(self, path: str, options: RecordedOptions, **keywords: Any) -> Session:  # noqa: N802 (the name it stands for)
        session = Session(self, path, options, **keywords)
        self.sessions.append(session)
        return session


class Session:
    """One session, with the providers that came up and their options as text."""

    def __init__(
        self,
        home: RecordedOnnxruntime,
        path: str,
        options: RecordedOptions,
        providers: list[Any] | None = None,
        enable_fallback: int = 1,
    ) -> None:
        self.home, self.path, self.options = home, path, options
        self.falls_back = bool(enable_fallback)
        self.asked: list[Any] = providers or []
        pairs = [each if isinstance(each, tuple) else (each, {}) for each in providers or ()]
        if options.devices:
            pairs = [(options.devices[0][0].ep_name, options.devices[1]), ("CPUExecutionProvider", {})]
        if any(home.refuses in given for _, given in pairs if home.refuses):
            raise RuntimeError(f"{home.refuses}: this session cannot")
        self.provider_options = {
            name: {key: _read_back(key, value) for key, value in given.items()}
            for name, given in pairs
            if name in home.works
        }
        self.bindings: list[Binding] = []
        self.runs: list[tuple[Binding, dict[str, str] | None]] = []

    def get_providers(self) -> list[str]:
        return list(self.provider_options)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self.provider_options

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda count=count: [None] * count)
            for name, count in self.home.nodes.items()
        ]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input", type=self.home.takes)]

    def get_outputs(self) -> list[Any]:
        kind, shape = self.home.output
        return [SimpleNamespace(name="output", type=kind, shape=shape)]

    def disable_fallback(self) -> None:
        self.falls_back = False

    def io_binding(self) -> Binding:
        self.bindings.append(Binding())
        return self.bindings[-1]

    def run_with_iobinding(self, binding: Binding, options: RecordedRunOptions | None) -> None:
        if self.home.uncapturable and options and options.entries["gpu_graph_id"] != "-1":
            raise RuntimeError(self.home.uncapturable)
        self.runs.append((binding, None if options is None else options.entries))


def _read_back(key: str, value: object) -> str:
    """Return what the session says of an option; TensorRT's switches are refused unless True or False.

    Its Python binding compares their text with these words, and the provider tells them as 1 and 0.
    """
    if key.startswith("trt_") and key.endswith("_enable"):
        if str(value) not in {"True", "False"}:
            raise RuntimeError(f"The value for the key '{key}' should be 'True' or 'False'.")
        return "1" if str(value) == "True" else "0"
    return str(value)


def recorded(monkeypatch: pytest.MonkeyPatch, *has: str, **how: Any) -> RecordedOnnxruntime:
    """Put a recorded onnxruntime in the true one's place."""
    module = RecordedOnnxruntime(*has, **how)
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    return module


def images(count: int, dtype: str = "float32") -> Any:
    """Return that many images of noise."""
    noise = np.random.default_rng(1).integers(0, 256, (count, 3, SIDE, SIDE))
    return noise.astype(dtype)
