"""What Triton says of the model it serves: its Python backend in the log, others by configuration (pure).

Triton refuses to load a model on a GPU that it does not have, so the configuration of one that is
loaded says where it computes. Which arithmetic a model file of a native backend holds, Triton does not say:
the file does (`pytest_servebench.held`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_servebench.plan import WireProtocol, WireRequest
from pytest_servebench.results import Served
from pytest_servebench.samples import Reply
from pytest_servebench.stacks.facts import json_of, served_of

_PYTHON, _DALI = "python", "dali"
_PROVIDERS = {
    ("onnxruntime", "cpu"): "CPUExecutionProvider",
    ("onnxruntime", "cuda"): "CUDAExecutionProvider",
    ("pytorch", "cpu"): "libtorch",
    ("pytorch", "cuda"): "libtorch",
    ("tensorrt", "cuda"): "TensorRT",
}
"""What computes, by Triton's backend and the kind of device; others are called as their backend."""
_ACCELERATED = "TensorrtExecutionProvider"
_QUOTED = '{\\"'
"""How an object begins inside a text that is quoted itself."""
_MODES = {"FP32": "fp32", "FP16": "fp16", "INT8": "int8"}
"""Of the TensorRT accelerator's ``precision_mode``; FP32 lets TF32 in unless told otherwise."""


def requests(model: str, preprocess: str = "") -> tuple[WireRequest, ...]:
    """Return the requests for the configuration of ``model`` and for the server's own facts.

    With ``preprocess``, the model that decodes for it, for that one's configuration too.
    """
    paths = [f"/v2/models/{model}/config", "/v2"]
    paths += [f"/v2/models/{preprocess}/config"] if preprocess else []
    return tuple(WireRequest(protocol=WireProtocol.HTTP, path=path, body=b"", method="GET") for path in paths)


def served(model: str, replies: Sequence[Reply], log: str, preprocess: str = "") -> Served:
    """Return what the replies to `requests` and the log say of ``model``, and of what decodes for it."""
    config, server, *decoding = (_object(json_of(reply.body)) for reply in replies)
    told = _computing(model, config, server, log)
    decoder = _decoder(preprocess, decoding[0], log) if decoding else ""
    return replace(told, options={**told.options, "decoder": decoder}) if decoder else told


def _decoder(preprocess: str, config: Mapping[str, Any], log: str) -> str:
    """Return what decodes: the backend is DALI, or the Python one says it in the log; empty: not said."""
    if _backend(config) == _DALI:
        return _DALI
    return str(next(iter(_lines_of(preprocess, log)), {}).get("decoder", ""))


def _computing(model: str, config: Mapping[str, Any], server: Mapping[str, Any], log: str) -> Served:
    backend = _backend(config)
    if backend == _PYTHON:
        return _said_in_log(model, log)
    if not backend:
        return Served(absent=f"the configuration of {model} names no backend")
    return _configured(config, backend, f"Triton {server.get('version', 'of unknown version')}")


def _said_in_log(model: str, log: str) -> Served:
    """Return what the model's instances said when it was loaded last, each in a line of its own."""
    if not log:
        return Served(absent="Triton's Python backend says it in its log, which is not ours to read")
    facts = _lines_of(model, log)
    if not facts:
        return Served(absent=f"the log has no line 'servebench serves {model}: ...'")
    return served_of({**facts[0], "device": _together([fact.get("device") for fact in facts])}, "the log")


def _lines_of(model: str, log: str) -> list[Mapping[str, Any]]:
    since = log.rpartition(f"loading: {model}:")[2]
    begin = f"servebench serves {model}: "
    told = [_first_json(line.partition(begin)[2]) for line in since.splitlines() if begin in line]
    return [one for one in told if one]


def _first_json(text: str) -> Mapping[str, Any]:
    """Return the object that ``text`` begins with: as it is, or inside the text that Triton quotes."""
    decoder = json.JSONDecoder()
    try:
        plain = decoder.raw_decode(f'"{text}')[0] if text.startswith(_QUOTED) else text
        return _object(decoder.raw_decode(plain)[0])
    except ValueError:
        return {}


def _together(devices: Sequence[object]) -> str | None:
    """Return the devices of all instances as one: ``cuda:0,1``; different kinds side by side."""
    known = sorted({one for one in devices if isinstance(one, str)}, key=_by_index)
    kinds = {one.partition(":")[0] for one in known}
    if len(kinds) != 1 or not all(":" in one for one in known):
        return ", ".join(known) or None
    return f"{kinds.pop()}:{','.join(one.partition(':')[2] for one in known)}"


def _by_index(device: str) -> tuple[str, int]:
    kind, _, index = device.partition(":")
    return kind, int(index) if index.isdigit() else -1


def _configured(config: Mapping[str, Any], backend: str, server: str) -> Served:
    device = _device(config)
    kind = (device or "").partition(":")[0]
    tensorrt = _accelerator(config) if kind == "cuda" else None
    mode = str(_object((tensorrt or {}).get("parameters")).get("precision_mode", "FP32")).upper()
    return Served(
        engine=f"{server} {backend} backend",
        provider=_ACCELERATED if tensorrt is not None else _PROVIDERS.get((backend, kind), backend),
        device=device,
        precision=_MODES.get(mode) if tensorrt is not None and mode != "FP32" else None,
        options=_options(config),
    )


def _backend(config: Mapping[str, Any]) -> str:
    """Return the backend's name; an older configuration has only a platform, as ``onnxruntime_onnx``."""
    platforms = {
        "onnxruntime_onnx": "onnxruntime",
        "pytorch_libtorch": "pytorch",
        "tensorrt_plan": "tensorrt",
    }
    return str(config.get("backend") or platforms.get(str(config.get("platform")), ""))


def _device(config: Mapping[str, Any]) -> str | None:
    """Return where the model's instances are; None where Triton leaves it to the model."""
    groups = [_object(one) for one in _list(config.get("instance_group"))]
    kinds = {str(group.get("kind")) for group in groups}
    if kinds == {"KIND_CPU"}:
        return "cpu"
    if kinds != {"KIND_GPU"}:
        return None
    gpus = sorted({one for group in groups for one in _list(group.get("gpus")) if isinstance(one, int)})
    return f"cuda:{','.join(map(str, gpus))}" if gpus else "cuda"


def _accelerator(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the TensorRT accelerator of the onnxruntime backend; None without one."""
    execution = _object(_object(config.get("optimization")).get("execution_accelerators"))
    found = [_object(one) for one in _list(execution.get("gpu_execution_accelerator"))]
    return next((one for one in found if one.get("name") == "tensorrt"), None)


def _options(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what else shapes the speed."""
    groups = [_object(one) for one in _list(config.get("instance_group"))]
    cuda = _object(_object(config.get("optimization")).get("cuda"))
    found = {"instances": " + ".join(str(group.get("count", 1)) for group in groups)} if groups else {}
    return found | ({"cuda_graphs": "on" if cuda["graphs"] else "off"} if "graphs" in cuda else {})


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
