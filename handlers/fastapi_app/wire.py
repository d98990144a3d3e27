"""Open Inference Protocol v2, HTTP form: bytes to tensor and back, JSON or binary. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from engine import Floats, Numbers

from fastapi_app.refusal import Refusal

INPUT, OUTPUT, DATATYPE = "input", "output", "FP32"
DATATYPES = {"float32": DATATYPE, "uint8": "UINT8"}
"""The protocol's words, by the dtype that a model takes."""
_ON_THE_WIRE = {"float32": "<f4", "uint8": "u1"}
_LARGEST_PIXEL = 255


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """One decoded inference request."""

    id: str | None
    tensor: Numbers
    """[n, 3, height, width], of the dtype that the model takes."""
    binary_output: bool


@dataclass(frozen=True, slots=True)
class TensorLimits:
    """What a model takes: ``image_shape`` without the batch dimension, at most ``max_batch_size`` images."""

    image_shape: tuple[int, int, int]
    max_batch_size: int
    dtype: str = "float32"


def decode_request(body: memoryview, header_length: int | None, limits: TensorLimits) -> TensorRequest:
    """Return the request in ``body``; refuses with 400 and a reason.

    ``header_length`` is ``Inference-Header-Content-Length``: the JSON's length when
    binary tensors follow it, None when the body is JSON alone. A binary tensor is a
    view into ``body``.
    """
    if header_length is not None and not 0 < header_length <= len(body):
        raise _wrong(f"Inference-Header-Content-Length is {header_length}, the body has {len(body)} bytes")
    head = _json_object(body if header_length is None else body[:header_length])
    tensor = _input_of(head, DATATYPES[limits.dtype])
    shape = _shape_of(tensor, limits)
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        values = _from_json(tensor, shape, limits.dtype)
    elif header_length is None:
        raise _wrong("binary_data_size without the header Inference-Header-Content-Length")
    else:
        values = _from_bytes(body[header_length:], size, shape, limits.dtype)
    request_id = head.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise _wrong("'id' is not a string")
    return TensorRequest(request_id or None, values, _binary_output(head))


def encode_response(model: str, request: TensorRequest, logits: Floats) -> tuple[bytes, int | None]:
    """Return the body, and the JSON's length when the output follows it as binary."""
    output: dict[str, Any] = {"name": OUTPUT, "datatype": DATATYPE, "shape": list(logits.shape)}
    head: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": [output]}
    if request.id is not None:
        head["id"] = request.id
    if not request.binary_output:
        output["data"] = logits.ravel().tolist()
        return json.dumps(head).encode(), None
    values = logits.astype("<f4", copy=False).tobytes()
    output["parameters"] = {"binary_data_size": len(values)}
    text = json.dumps(head).encode()
    return text + values, len(text)


def _wrong(reason: str) -> Refusal:
    return Refusal(400, reason)


def _json_object(text: memoryview) -> dict[str, Any]:
    try:
        head = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise _wrong(f"the request is not JSON: {error}") from error
    if not isinstance(head, dict):
        raise _wrong("the request is not a JSON object")
    return head


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _wrong("'parameters' is not an object")
    if "shared_memory_region" in parameters:
        raise _wrong("shared memory is not supported")
    return parameters


def _only(head: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    tensors = head.get(key)
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise _wrong(f"'{key}' must hold exactly one tensor, '{name}'")
    tensor: dict[str, Any] = tensors[0]
    if tensor.get("name") != name:
        raise _wrong(f"no tensor {tensor.get('name')!r} in '{key}' of this model: it has '{name}'")
    return tensor


def _input_of(head: dict[str, Any], datatype: str) -> dict[str, Any]:
    tensor = _only(head, "inputs", INPUT)
    if tensor.get("datatype") != datatype:
        raise _wrong(f"datatype of '{INPUT}' is {tensor.get('datatype')!r}, must be {datatype}")
    return tensor


def _shape_of(tensor: dict[str, Any], limits: TensorLimits) -> tuple[int, ...]:
    shape = tensor.get("shape")
    expected = f"[n, {', '.join(map(str, limits.image_shape))}]"
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        raise _wrong(f"shape of '{INPUT}' is {shape!r}, must be {expected}")
    if tuple(shape[1:]) != limits.image_shape or shape[0] < 1:
        raise _wrong(f"shape of '{INPUT}' is {shape}, must be {expected} with n of at least 1")
    if shape[0] > limits.max_batch_size:
        raise _wrong(f"{shape[0]} images in one request; at most {limits.max_batch_size} (max batch size)")
    return tuple(shape)


def _from_bytes(data: memoryview, size: Any, shape: tuple[int, ...], dtype: str) -> Numbers:
    needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size != needed or len(data) != needed:
        raise _wrong(
            f"'{INPUT}' of shape {list(shape)} takes {needed} bytes; "
            f"binary_data_size says {size!r}, {len(data)} came"
        )
    values = np.frombuffer(data, dtype=_ON_THE_WIRE[dtype]).reshape(shape)
    # Engines read aligned floats; a body that was read chunk by chunk may lie elsewhere.
    return values if values.flags.aligned else values.copy()


def _from_json(tensor: dict[str, Any], shape: tuple[int, ...], dtype: str) -> Numbers:
    try:
        values = np.asarray(tensor["data"])
    except (KeyError, ValueError) as error:
        raise _wrong(f"'{INPUT}' has no rectangular 'data'") from error
    if values.dtype.kind not in "fiu" or values.size != np.prod(shape):
        raise _wrong(f"'data' of '{INPUT}' must be {np.prod(shape)} numbers")
    if dtype == "uint8" and (values.dtype.kind == "f" or values.min() < 0 or values.max() > _LARGEST_PIXEL):
        raise _wrong(f"'data' of '{INPUT}' must be whole numbers from 0 to {_LARGEST_PIXEL}")
    return np.ascontiguousarray(values.reshape(shape), dtype=dtype)


def _binary_output(head: dict[str, Any]) -> bool:
    binary = _parameters(head).get("binary_data_output", False)
    if head.get("outputs"):
        parameters = _parameters(_only(head, "outputs", OUTPUT))
        if parameters.get("classification"):
            raise _wrong("the classification extension is not supported")
        binary = parameters.get("binary_data", binary)
    return bool(binary)
