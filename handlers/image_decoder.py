"""Turns encoded images into what a model reads: all by Pillow on the CPU, or JPEG by nvJPEG on the GPU.

A guest: shared by the servers in this folder, imports nothing of pytest_servebench. ``nvjpeg`` is
torchvision's `decode_jpeg` with a CUDA device; from torchvision 0.20 it takes a list, whose baseline images
go to the GPU's own decoder in one batch where it has one (A100 and later). It is deprecated since 0.29 and
works there. Several callers take turns: it has one decoder, under a lock, and makes it anew for another
GPU, so a server decodes on one.

It decodes to other pixels than Pillow. Of that nothing was measured on a GPU; `verification` in the package
has what another decoder moved, and allows for it.

What nvJPEG is not given, and what it cannot read, Pillow reads, and it says what is wrong: other formats,
JPEGs of other modes than grey and RGB, and those that do not end as a JPEG does.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from imagenet import Card, check_size, pixels_of, preprocess, resized
from PIL import Image

Numbers = npt.NDArray[Any]
Read = Numbers | ValueError
"""An image as float32 or uint8 [3, crop, crop], or why there is none."""

_END_OF_IMAGE = b"\xff\xd9"
_NONE_ASKED = "or set the decoder to pillow"
log = logging.getLogger("uvicorn.error")


class Decoder(Protocol):
    """What reads images; any thread may call it."""

    name: str
    """``pillow`` or ``nvjpeg``."""
    takes_batches: bool
    """Whether images are better given in one call than by many threads."""

    def read(self, images: Sequence[bytes], card: Card, dtype: str) -> list[Read]:
        """Return each image decoded, resized and cropped, and normalised unless ``dtype`` is ``uint8``."""


class PillowDecoder:
    """Pillow, on the CPU; a `Decoder`."""

    name = "pillow"
    takes_batches = False

    def read(self, images: Sequence[bytes], card: Card, dtype: str) -> list[Read]:
        """Return each image by the steps of `imagenet`."""
        return [_by_pillow(image, card, dtype) for image in images]


class NvjpegDecoder:
    """nvJPEG, and torch for what follows, on one GPU; a `Decoder`.

    Its answer is copied to the CPU, 602,112 bytes a float32 image and 150,528 of pixels, and by the engine
    to the GPU again: requests that hold tensors share batches with those that hold images, in one buffer on
    the CPU, and onnxruntime is fed from there. It waits for the GPU at that copy.
    """

    name = "nvjpeg"
    takes_batches = True

    def __init__(self, device: str) -> None:
        """Load torchvision and decode one image; raises ``RuntimeError`` with what is missing."""
        if not device.startswith("cuda"):
            remedy = f"serve on a GPU, {_NONE_ASKED}"
            raise RuntimeError(
                f"the decoder nvjpeg needs a CUDA device, and the server is on {device}: {remedy}"
            )
        self._torch, self._decode_jpeg, self._rgb = _pieces()
        if not self._torch.cuda.is_available():
            remedy = f"install a driver and a torch built for CUDA, {_NONE_ASKED}"
            raise RuntimeError(f"the decoder nvjpeg needs a CUDA device, and torch sees none: {remedy}")
        self._device = device if ":" in device else f"{device}:0"
        try:
            self._decoded([_tiny_jpeg()])
        except (RuntimeError, TypeError, ValueError) as error:
            remedy = f"install the torchvision that belongs to this torch, built for CUDA, {_NONE_ASKED}"
            raise RuntimeError(f"the decoder nvjpeg does not decode: {error}: {remedy}") from error

    def read(self, images: Sequence[bytes], card: Card, dtype: str) -> list[Read]:
        """Return each image, those that nvJPEG can read decoded in one call."""
        mine = [index for index, image in enumerate(images) if _is_plain_jpeg(image, card)]
        pixels = dict(zip(mine, self._decoded_or_not([images[index] for index in mine]), strict=True))
        return [self._finished(pixels.get(i), image, card, dtype) for i, image in enumerate(images)]

    def _decoded_or_not(self, images: list[bytes]) -> list[Any]:
        """Return uint8 [3, height, width] on the GPU, None for each that nvJPEG cannot read."""
        if not images:
            return []
        try:
            return self._decoded(images)
        except RuntimeError:
            # It returns all or none, and does not say which was the one.
            if len(images) == 1:
                return [None]
            return [one for image in images for one in self._decoded_or_not([image])]

    def _decoded(self, images: list[bytes]) -> list[Any]:
        # A tensor over the bytes as they lie would be writable, and bytes are not.
        encoded = [self._torch.frombuffer(bytearray(image), dtype=self._torch.uint8) for image in images]
        return list(self._decode_jpeg(encoded, mode=self._rgb, device=self._device))

    def _finished(self, pixels: Any, image: bytes, card: Card, dtype: str) -> Read:
        if pixels is None:
            return _by_pillow(image, card, dtype)
        try:
            with self._torch.inference_mode():
                return np.asarray(as_the_model_reads(pixels, card, dtype).cpu().numpy())
        except self._torch.cuda.OutOfMemoryError:
            # One that is too large for what is left must not fail those it shares a batch with.
            return _by_pillow(image, card, dtype)


def as_the_model_reads(pixels: Any, card: Card, dtype: str) -> Any:
    """Return uint8 [3, height, width] resized, cropped and, for ``float32``, normalised, where it lies.

    The sizes are those of `imagenet`. torch's antialiased filters are Pillow's, and as Pillow does, columns
    and then rows are resized, each to whole pixels. On a CPU, over 64 synthetic images and 16 photographs
    (12,042,240 values), 0.08% differed from Pillow's by 1 of 255 with ``bilinear``, 0.003% with ``bicubic``,
    and none by more; a GPU was not measured.
    """
    from torch.nn import functional

    width, height = resized((pixels.shape[2], pixels.shape[1]), card)
    columns = _whole_pixels(pixels[None], (pixels.shape[1], width), card)
    numbers = _whole_pixels(columns, (height, width), card)[0]
    left, top = round((width - card.crop) / 2), round((height - card.crop) / 2)
    # What is less than nothing is cut off; an image smaller than the crop gets black edges, as by Pillow.
    edges = (-left, left + card.crop - width, -top, top + card.crop - height)
    numbers = functional.pad(numbers, edges)
    if dtype == "uint8":
        return numbers.byte()
    mean, std = (numbers.new_tensor(each).view(3, 1, 1) for each in (card.mean, card.std))
    return (numbers / 255 - mean) / std


def _whole_pixels(pixels: Any, size: tuple[int, int], card: Card) -> Any:
    """Return float32 [1, 3, height, width] of whole numbers from 0 to 255."""
    from torch.nn import functional

    numbers = pixels.float()
    if tuple(numbers.shape[2:]) == size:
        return numbers
    numbers = functional.interpolate(
        numbers, size=size, mode=card.interpolation, align_corners=False, antialias=True
    )
    # Half goes up, as in Pillow; torch rounds it to even.
    return numbers.add_(0.5).floor_().clamp_(0, 255)


def decoder_for(asked: str, device: str) -> Decoder:
    """Return the decoder that was asked for; ``auto`` is nvJPEG on a GPU where it can be had.

    ``device`` is ``cpu`` or ``cuda:N``. Raises ``RuntimeError`` for ``nvjpeg`` with what is missing.
    """
    if asked == "pillow" or (asked == "auto" and device == "cpu"):
        return PillowDecoder()
    if asked not in {"auto", "nvjpeg"}:
        raise RuntimeError(f"there is no decoder {asked!r}: auto, pillow and nvjpeg are")
    try:
        return NvjpegDecoder(device)
    except RuntimeError as error:
        if asked == "nvjpeg":
            raise
        log.warning("images are decoded by pillow: %s", error)
        return PillowDecoder()


def with_decoder(facts: dict[str, Any], decoder: Decoder) -> dict[str, Any]:
    """Return an engine's facts with what decodes images among the options."""
    return {**facts, "options": {**facts.get("options", {}), "decoder": decoder.name}}


def _pieces() -> tuple[Any, Any, Any]:
    """Return torch, torchvision's decoder and its word for RGB; raises ``RuntimeError`` without them."""
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg
    except (ImportError, OSError, RuntimeError) as error:
        # The last is a torchvision built for another torch: its operators are not to be found.
        remedy = f"pip install the torchvision that belongs to this torch, {_NONE_ASKED}"
        raise RuntimeError(
            f"the decoder nvjpeg needs torchvision, which cannot be loaded ({error}): {remedy}"
        ) from error
    message = "The image decoding and encoding capabilities of TorchVision are deprecated"
    warnings.filterwarnings("ignore", message=message)
    return torch, decode_jpeg, ImageReadMode.RGB


def _tiny_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


def _by_pillow(image: bytes, card: Card, dtype: str) -> Read:
    try:
        return pixels_of(image, card) if dtype == "uint8" else preprocess(image, card)
    except ValueError as error:
        return error


def _is_plain_jpeg(encoded: bytes, card: Card) -> bool:
    """Say whether nvJPEG may have it: by its header, which Pillow reads without decoding, and its end.

    One that breaks off would be decoded as far as it goes, and Pillow refuses it.
    """
    if not encoded.rstrip(b"\0").endswith(_END_OF_IMAGE):
        return False
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            check_size(image.size)
            check_size(resized(image.size, card))
            return image.format == "JPEG" and image.mode in {"L", "RGB"}
    except Exception:  # noqa: BLE001 (Pillow raises many types)
        # It will tell the caller which when it decodes.
        return False
