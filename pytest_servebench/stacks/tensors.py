"""The numbers that a request carries for some images: normalised, or as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_servebench.errors import ModelError
from pytest_servebench.plan import Image, Payload


def tensor_of(payload: Payload, images: Sequence[Image]) -> npt.NDArray[Any]:
    """Return [n, 3, height, width] of ``images``: uint8 for the payload ``uint8``, else float32.

    In the order of bytes that every wire has: the little end first. Raises `ModelError` for ``uint8``
    where an image was kept without its pixels.
    """
    if payload is Payload.UINT8:
        return np.stack([_pixels_of(image) for image in images])
    return np.stack([image.tensor for image in images]).astype("<f4", copy=False)


def datatype_of(array: npt.NDArray[Any]) -> str:
    """Return the Open Inference Protocol's word for the type of its numbers."""
    return "UINT8" if array.dtype == np.uint8 else "FP32"


def _pixels_of(image: Image) -> npt.NDArray[np.uint8]:
    if image.pixels is None:
        raise ModelError(
            "an image has no pixels to send",
            where=f"image {image.index} {image.name}".rstrip(),
            seen="it was kept normalised and encoded only",
            next_step="make it with its pixels (models.preprocessing.pixels_of), or ask with another payload"
            " than uint8",
        )
    return image.pixels
