"""Image sets: what requests carry, both as JPEG and as the tensor made of that JPEG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.models.catalogue import ModelCard
from pytest_servebench.models.preprocessing import normalised, pixels_of
from pytest_servebench.plan import Image

IMAGE_SETS = ("synthetic", "photographs")
EXPECTED_CLASSES = {"chelsea": 285, "coffee": 967, "rocket": 657}
"""Class id of the photographs that show one of the 1,000 classes: Egyptian cat, espresso, missile."""

_SYNTHETIC_JPEG = {"quality": 90}
_PHOTOGRAPH_JPEG = {"quality": 95, "subsampling": 0}
"""With full colour resolution: without it chelsea, close between two cats, changes class."""
_PHOTOGRAPHS = (
    # Those with an expected class come first, so that a small set holds them.
    *("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png"),
    *("retina.jpg", "hubble_deep_field.jpg", "ihc.png", "camera.png", "coins.png", "moon.png"),
    *("brick.png", "grass.png", "gravel.png", "page.png", "text.png"),
)
"""Of scikit-image's data folder."""
_SIZES = ((500, 375), (375, 500), (640, 480), (512, 512), (333, 500), (600, 338))
_LAYERS = ((2, 62.0), (6, 44.0), (20, 24.0), (75, 12.0))
"""Cells across and deviation of the noise that a synthetic image sums up, coarse to fine."""


def image_set(name: str, card: ModelCard, count: int, seed: int) -> tuple[Image, ...]:
    """Return ``count`` distinct images for ``card``, the same ones at each call.

    ``synthetic``: drawn from ``seed``. ``photographs``: scikit-image's, in a fixed order
    (``seed`` has no part in it). Raises `PlanError` for an unknown set or more
    photographs than there are, `MissingPieceError` without scikit-image.
    """
    if name == "synthetic":
        named = [(f"synthetic-{seed}-{index}", _synthetic(seed, index)) for index in range(count)]
    elif name == "photographs":
        named = _photographs(count)
    else:
        raise PlanError(f"there is no image set {name!r}", next_step=f"use one of: {', '.join(IMAGE_SETS)}")
    return tuple(_image(index, title, jpeg, card) for index, (title, jpeg) in enumerate(named))


def _image(index: int, title: str, jpeg: bytes, card: ModelCard) -> Image:
    pixels = pixels_of(jpeg, card)
    return Image(index=index, jpeg=jpeg, tensor=normalised(pixels, card), name=title, pixels=pixels)


def _synthetic(seed: int, index: int) -> bytes:
    """Return a JPEG of coloured noise with the scales of a photograph: coarse colour under fine detail."""
    generator = np.random.default_rng((seed, index))
    width, height = _SIZES[index % len(_SIZES)]
    pixels = np.empty((height, width, 3), dtype=np.float32)
    pixels[:] = generator.uniform(60, 195, 3)
    for cells, deviation in _LAYERS:
        noise = generator.normal(0, deviation, (cells, cells, 3)).astype(np.float32)
        pixels += _stretched(noise, (width, height))
    return _jpeg(Pillow.fromarray(pixels.clip(0, 255).astype(np.uint8)), _SYNTHETIC_JPEG)


def _stretched(noise: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    channels = [
        Pillow.fromarray(channel).resize(size, Pillow.Resampling.BICUBIC)
        for channel in noise.transpose(2, 0, 1)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def _photographs(count: int) -> list[tuple[str, bytes]]:
    if count > len(_PHOTOGRAPHS):
        raise PlanError(
            f"there are {len(_PHOTOGRAPHS)} photographs, {count} were asked for",
            next_step="ask for fewer, or use the image set 'synthetic'",
        )
    folder = _photograph_folder()
    return [(Path(name).stem, _encoded(folder / name)) for name in _PHOTOGRAPHS[:count]]


def _photograph_folder() -> Path:
    # Found without importing it: scikit-image's own loaders would fetch what is not there.
    spec = find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    if folder is None or not all((folder / name).is_file() for name in _PHOTOGRAPHS):
        raise MissingPieceError(
            "the photographs come with scikit-image, which is not installed or lacks them",
            next_step="pip install 'pytest-servebench[photographs]'",
        )
    return folder


def _encoded(path: Path) -> bytes:
    """Return the file as JPEG: its own bytes when it is one."""
    if path.suffix == ".jpg":
        return path.read_bytes()
    with Pillow.open(path) as image:
        return _jpeg(image if image.mode == "L" else image.convert("RGB"), _PHOTOGRAPH_JPEG)


def _jpeg(image: Pillow.Image, settings: Mapping[str, int]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **settings)
    return buffer.getvalue()
