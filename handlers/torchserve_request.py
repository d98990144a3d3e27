"""What a request to the TorchServe handler holds: encoded images, base64 text, or numbers, in any number.

A guest, beside the handler in its model archive: imports nothing of pytest_servebench.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from image_decoder import Numbers, Read
from imagenet import Card

TENSOR_CONTENT_TYPE = "application/x-float32"
"""Declares little-endian float32 [n, 3, crop, crop]. Bytes under any other type are one
encoded image: nothing is guessed, so a JPEG of whatever length is never read as numbers."""

UINT8_CONTENT_TYPE = "application/x-tensor-uint8"
"""Declares uint8 [n, 3, crop, crop]: pixels, for a model that normalises them itself."""
_DTYPES = {TENSOR_CONTENT_TYPE: "float32", UINT8_CONTENT_TYPE: "uint8"}
_ON_THE_WIRE = {"float32": "<f4", "uint8": "u1"}

Unpack = Callable[[bytes], Read]


def images_of(
    request: Mapping[str, Any], types: Mapping[str, str], card: Card, dtype: str, unpack: Unpack
) -> Iterator[Numbers]:
    """Yield [n, 3, crop, crop] of the model's dtype for each piece of a request, in order.

    ``unpack`` reads an encoded image. A plain body comes under the name ``body``; the parts of a form under
    their own names. Raises ``ValueError`` at the first piece that is none.
    """
    parts = {"body": request["body"]} if "body" in request else dict(request)
    if not parts or parts == {"body": b""}:
        raise ValueError("the request holds no image")
    position = 0
    for name, value in parts.items():
        for piece in _pieces(value):
            try:
                encoded = _from_base64(piece) if isinstance(piece, str) else bytes(piece)
                images = _read_piece(encoded, types.get(name, ""), card, dtype, unpack)
            except ValueError as error:
                raise ValueError(f"image {position}: {error}") from error
            position += len(images)
            yield images


def _read_piece(encoded: bytes, content_type: str, card: Card, dtype: str, unpack: Unpack) -> Numbers:
    sent = _DTYPES.get(content_type)
    if sent is None:
        image = unpack(encoded)
        if isinstance(image, ValueError):
            raise image
        return image[None]
    if sent != dtype:
        raise ValueError(f"numbers of type {sent}, and this model takes {dtype}")
    return _read_tensor(encoded, card, dtype)


def _pieces(value: Any) -> Iterator[bytes | bytearray | str]:
    """Yield bytes, or base64 text, for each image in one part: itself, or what its JSON lists."""
    if isinstance(value, Mapping) and "instances" in value:
        value = value["instances"]
    for item in value if isinstance(value, list) else [value]:
        piece = item.get("b64") if isinstance(item, Mapping) else item
        if not isinstance(piece, (bytes, bytearray, str)):
            raise ValueError('expected an image, base64 text, {"b64": text} or a list of these')  # noqa: TRY004 (a bad request, not a bug)
        yield piece


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"text that is not base64: {error}") from error


def _read_tensor(raw: bytes, card: Card, dtype: str) -> Numbers:
    per_image = 3 * card.crop * card.crop * np.dtype(dtype).itemsize
    if not raw or len(raw) % per_image:
        raise ValueError(
            f"{len(raw)} bytes are no {dtype} [n, 3, {card.crop}, {card.crop}]: "
            f"expected a multiple of {per_image}"
        )
    numbers = np.frombuffer(raw, dtype=_ON_THE_WIRE[dtype]).astype(dtype, copy=False)
    return numbers.reshape(-1, 3, card.crop, card.crop)
