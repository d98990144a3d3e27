"""Reads of a model.onnx what must be known before onnxruntime loads it, or what it does not say after.

A guest. onnxruntime tells neither the types of a model's weights nor, before it has a session, the shape of
its input; the package onnx would, and no server image has it. The format is protobuf's wire format
(https://protobuf.dev/programming-guides/encoding/), the field numbers are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

_GRAPH = 7
_NODE, _INITIALIZER, _INPUT = 1, 5, 11
_READS, _OP_TYPE = 1, 4
_DIMS, _DATA_TYPE = 1, 2
_NAME, _TYPE, _TENSOR_TYPE, _SHAPE, _DIM, _DIM_VALUE = 1, 2, 1, 2, 1, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_UINT8 = 2
_PRECISIONS = {1: "fp32", _UINT8: "int8", 3: "int8", 10: "fp16", 16: "bf16"}
"""By onnx.TensorProto.DataType, of types that weights have."""


@dataclass(frozen=True)
class OnnxFile:
    """What is in the file."""

    input_name: str
    input_shape: tuple[int | None, ...]
    """None where it is not fixed."""
    elements: Mapping[str, int]
    """Numbers that the weights hold, by precision; those that are rounded before any use by what to."""

    @property
    def precision(self) -> str | None:
        """The precision of most weights; None where there are none."""
        return max(self.elements, key=lambda each: self.elements[each]) if self.elements else None


def read_onnx(path: Path) -> OnnxFile:
    """Return what ``path`` says of itself; raises ``ValueError`` when it is no ONNX model."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read(data)
    except (ValueError, IndexError, StopIteration) as error:
        raise ValueError(f"{path.name} is no ONNX model: {error}") from error


def _read(data: mmap.mmap) -> OnnxFile:
    begin, end = next(span for number, span in _spans(data, 0, len(data)) if number == _GRAPH)
    weights: dict[str, tuple[int, int]] = {}
    rounded: dict[str, str] = {}
    inputs: list[tuple[str, tuple[int | None, ...]]] = []
    for number, span in _spans(data, begin, end):
        if number == _INITIALIZER:
            weights[_text(data, *span, 8)] = _weights(data, *span)
        elif number == _NODE and _text(data, *span, _OP_TYPE) == "QuantizeLinear":
            taken, _, *zero = (data[slice(*one)].decode() for n, one in _spans(data, *span) if n == _READS)
            rounded[taken] = zero[0] if zero else ""
        elif number == _INPUT:
            inputs.append((_text(data, *span, _NAME), _shape(data, *span)))
    # Old models list their weights among the inputs.
    name, shape = next(each for each in inputs if each[0] not in weights)
    return OnnxFile(input_name=name, input_shape=shape, elements=_elements(weights, rounded))


def _elements(weights: Mapping[str, tuple[int, int]], rounded: Mapping[str, str]) -> Mapping[str, int]:
    """Return the numbers by precision, for each of the ``weights`` its type and how many it has.

    What a QuantizeLinear reads is ``rounded`` to the type of its zero point; without one to uint8.
    """
    found: Counter[str] = Counter()
    for name, (stored, count) in weights.items():
        kind = weights.get(rounded[name], (_UINT8, 0))[0] if name in rounded else stored
        if kind in _PRECISIONS:
            found[_PRECISIONS[kind]] += count
    return found


def _weights(data: mmap.mmap, begin: int, end: int) -> tuple[int, int]:
    kind, dims = 0, []
    for number, value in _fields(data, begin, end):
        if number == _DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == _DIMS:
            dims += [value] if isinstance(value, int) else list(_varints(data, *value))
    return kind, prod(dims)


def _shape(data: mmap.mmap, begin: int, end: int) -> tuple[int | None, ...]:
    for wanted in (_TYPE, _TENSOR_TYPE, _SHAPE):
        begin, end = next(span for number, span in _spans(data, begin, end) if number == wanted)
    dims = (span for number, span in _spans(data, begin, end) if number == _DIM)
    return tuple(_fixed(data, *span) for span in dims)


def _fixed(data: mmap.mmap, begin: int, end: int) -> int | None:
    values = (value for number, value in _fields(data, begin, end) if number == _DIM_VALUE)
    return next((value for value in values if isinstance(value, int)), None)


def _text(data: mmap.mmap, begin: int, end: int, wanted: int) -> str:
    begin, end = next((span for number, span in _spans(data, begin, end) if number == wanted), (0, 0))
    return data[begin:end].decode()


def _spans(data: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    for number, value in _fields(data, begin, end):
        if not isinstance(value, int):
            yield number, value


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Yield each field's number, and its value or where its bytes lie; nothing is copied."""
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif kind == _BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError(f"it ends within field {number}")
            yield number, (at, at + length)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} has wire type {kind}")


def _varints(data: mmap.mmap, at: int, end: int) -> Iterator[int]:
    while at < end:
        value, at = _varint(data, at)
        yield value


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
