"""A Triton python-backend model that runs one model file with onnxruntime or torch.

A guest: Triton loads it as ``model.py`` from a version folder that also holds
``engine.py`` and what it loads (this folder's siblings) and the model file, ``model.onnx`` or ``model.pt``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from engine import Engine, Floats, Numbers, load_engine

_MODEL_FILES = ("model.onnx", "model.pt")


class TritonPythonModel:
    """float32 or uint8 ``input`` [n, 3, 224, 224] to float32 ``output`` [n, 1000]."""

    _engine: Engine

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model file beside this file on the device that Triton chose."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._engine = load_engine(
            model_file(folder),
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu",
            threads=int(_parameter(config, "threads", "1")),
            precision=_parameter(config, "precision", "fp32"),
            input_dtype=_input_dtype(config),
            max_batch_size=max(1, int(config.get("max_batch_size", 1))),
            cuda_graphs=_parameter(config, "cuda_graphs", "off"),
        )
        name = args["model_name"]
        pb_utils.Logger.log_info(f"{name} serves with {self._engine.name}")
        pb_utils.Logger.log_info(f"servebench serves {name}: {json.dumps(self._engine.facts())}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request, all computed in one run of the model.

        A request that can not be read, or a run that fails, is an error reply.
        """
        batches = [_input(request) for request in requests]
        readable = [batch for batch in batches if isinstance(batch, np.ndarray)]
        outputs = iter(self._run(readable))
        return [_response(next(outputs) if isinstance(batch, np.ndarray) else batch) for batch in batches]

    def _run(self, batches: list[Numbers]) -> list[Floats | Exception]:
        if not batches:
            return []
        try:
            # One request alone is the common case at low load: spare it the copy.
            logits = self._engine.run(batches[0] if len(batches) == 1 else np.concatenate(batches))
        except Exception as error:  # noqa: BLE001 (engines raise what they like; the server must live)
            return [error] * len(batches)
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return list(np.split(logits, ends))

    def finalize(self) -> None:
        """Let go of the model and its memory."""
        del self._engine


def model_file(folder: Path) -> Path:
    """Return the model file in a version folder, links followed.

    Links are followed because an ONNX file finds its external data beside its true place.
    Raises ``FileNotFoundError`` when there is none.
    """
    for name in _MODEL_FILES:
        if (folder / name).exists():
            return (folder / name).resolve()
    raise FileNotFoundError(f"no model file in {folder.resolve()}: expected one of {', '.join(_MODEL_FILES)}")


def _parameter(config: dict[str, Any], key: str, default: str) -> str:
    value = config.get("parameters", {}).get(key)
    return default if value is None else str(value["string_value"])


def _input_dtype(config: dict[str, Any]) -> str:
    """Return ``uint8`` where the configuration's input is, else nothing: as the file says."""
    inputs = config.get("input", [])
    return "uint8" if inputs and inputs[0].get("data_type") == "TYPE_UINT8" else ""


def _input(request: Any) -> Numbers | Exception:
    try:
        batch: Numbers = pb_utils.get_input_tensor_by_name(request, "input").as_numpy()
    except Exception as error:  # noqa: BLE001 (one unreadable request must not fail its neighbours)
        return error
    return batch


def _response(result: Floats | Exception) -> Any:
    if isinstance(result, Exception):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(result)))
    return pb_utils.InferenceResponse([pb_utils.Tensor("output", result)])
