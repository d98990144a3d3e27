"""The client's own preprocessing: an encoded image to the tensor a model reads.

Stated a second time, on purpose, in ``handlers/imagenet.py`` for the servers, which
import nothing of this package; a test holds the two equal bit for bit.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from pytest_servebench.errors import ModelError
from pytest_servebench.models.catalogue import ModelCard

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MOST_PIXELS = 80_000_000
"""Of an image before or after resizing; a few bytes can claim gigabytes of pixels."""


def preprocess(encoded: bytes, card: ModelCard) -> npt.NDArray[np.float32]:
    """Return float32 [3, crop, crop] for an encoded image.

    RGB, shorter side to ``resize``, centre crop, 0..1, less ``mean``, by ``std``: what
    torchvision's ``Resize``, ``CenterCrop``, ``ToTensor`` and ``Normalize`` do to a Pillow
    image. Raises `ModelError` for bytes that are no whole image.
    """
    return normalised(pixels_of(encoded, card), card)


def pixels_of(encoded: bytes, card: ModelCard) -> npt.NDArray[np.uint8]:
    """Return uint8 [3, crop, crop]: an encoded image decoded, resized and cropped; raises `ModelError`."""
    with _decoded(encoded) as image:
        size = _resized(image.size, card.resize)
        # A line of pixels, a few bytes when encoded, would become a strip of gigabytes.
        _check_size(size)
        cropped = image.resize(size, _FILTERS[card.interpolation]).crop(_centre(size, card.crop))
    return np.ascontiguousarray(np.asarray(cropped, dtype=np.uint8).transpose(2, 0, 1))


def normalised(pixels: npt.NDArray[np.uint8], card: ModelCard) -> npt.NDArray[np.float32]:
    """Return float32 [3, crop, crop] for `pixels_of` an image."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    mean, std = (np.array(one, np.float32).reshape(3, 1, 1) for one in (card.mean, card.std))
    return np.asarray((scaled - mean) / std)


def _decoded(encoded: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            _check_size(image.size)
            # Transparency is dropped, not blended; kept, Pillow would warn of the drop.
            image.info.pop("transparency", None)
            converted: Image.Image = image.convert("RGB")
            return converted
    except ModelError:
        raise
    except Exception as error:
        # Pillow raises many types for bad bytes, and lets its plugins raise any.
        raise _unreadable(str(error)) from error


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > _MOST_PIXELS:
        raise _unreadable(f"{size[0]} x {size[1]} pixels")


def _unreadable(seen: str) -> ModelError:
    return ModelError(
        "these bytes are no image that can be used",
        seen=seen,
        next_step=f"give a whole image of at most {_MOST_PIXELS // 1_000_000} million pixels",
    )


def _resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Return width and height with the shorter one made ``shorter``, the longer rounded down."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _centre(size: tuple[int, int], crop: int) -> tuple[int, int, int, int]:
    """Return the box of the centre crop; halves round to even, as torchvision rounds them."""
    left, top = (round((length - crop) / 2) for length in size)
    return left, top, left + crop, top + crop
