"""What every server does around the model: image in, named top-5 out.

A guest: shared by the servers in this folder, imports nothing of pytest_servebench.
The client's own copy of the preprocessing is `pytest_servebench.models.preprocessing`;
a test holds the two equal.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]

MOST_PIXELS = 80_000_000
"""Of an image before or after resizing; a few bytes can claim gigabytes of pixels."""


@dataclass(frozen=True)
class Card:
    """How a model wants its images, from the ``card.json`` beside its file."""

    name: str
    resize: int
    crop: int
    interpolation: str
    """``bilinear`` or ``bicubic``."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def read(cls, path: Path) -> Card:
        """Return the card in ``path``; keys it does not know are somebody else's."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            name=raw["name"],
            resize=raw["resize"],
            crop=raw["crop"],
            interpolation=raw["interpolation"],
            mean=tuple(raw["mean"]),
            std=tuple(raw["std"]),
        )


def preprocess(encoded: bytes, card: Card) -> Floats:
    """Return float32 [3, crop, crop] for an encoded image.

    Shorter side to ``resize``, centre crop, 0..1, ImageNet mean and deviation, as
    torchvision's ``Resize``, ``CenterCrop`` and ``Normalize`` do. Raises ``ValueError``
    with a reason for bytes that are no whole image.
    """
    pixels = np.asarray(_cropped(encoded, card), dtype=np.float32) / np.float32(255)
    normal = (pixels - np.array(card.mean, np.float32)) / np.array(card.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


def pixels_of(encoded: bytes, card: Card) -> npt.NDArray[np.uint8]:
    """Return uint8 [3, crop, crop]: what `preprocess` normalises, for a model that does so itself."""
    pixels = np.asarray(_cropped(encoded, card), dtype=np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _cropped(encoded: bytes, card: Card) -> Image.Image:
    image = _resize_shorter_side(_decode(encoded), card)
    left = round((image.width - card.crop) / 2)
    top = round((image.height - card.crop) / 2)
    return image.crop((left, top, left + card.crop, top + card.crop))


def _decode(encoded: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded))
        check_size(image.size)
        # Transparency is dropped, not blended; kept, Pillow would warn of the drop.
        image.info.pop("transparency", None)
        return image.convert("RGB")
    except Exception as error:
        # Pillow raises many types for bad bytes; the caller needs one.
        raise ValueError(f"not a readable image: {error}") from error


def check_size(size: tuple[int, int]) -> None:
    """Raise ``ValueError`` for more pixels than `MOST_PIXELS`."""
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels are more than {MOST_PIXELS}")


def resized(size: tuple[int, int], card: Card) -> tuple[int, int]:
    """Return width and height with the shorter one as the card has it, the longer rounded down."""
    width, height = size
    if width <= height:
        return (card.resize, int(card.resize * height / width))
    return (int(card.resize * width / height), card.resize)


def _resize_shorter_side(image: Image.Image, card: Card) -> Image.Image:
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    size = resized(image.size, card)
    # A line of pixels, a few bytes when encoded, would become a strip of gigabytes.
    check_size(size)
    return image.resize(size, filters[card.interpolation])


def read_labels(path: Path) -> list[str]:
    """Return the class names in ``labels.json``, in order of class id."""
    return list(json.loads(path.read_text(encoding="utf-8")))


def top_predictions(logits: Floats, labels: list[str], count: int = 5) -> list[dict[str, Any]]:
    """Return the best ``count`` classes of one row of logits, best first.

    ``confidence`` is a softmax probability.
    """
    shifted = np.exp(logits - logits.max())
    probabilities = shifted / shifted.sum()
    best = np.argsort(-probabilities, kind="stable")[:count]
    return [
        {"class_id": int(i), "class_name": labels[int(i)], "confidence": float(probabilities[i])}
        for i in best
    ]
