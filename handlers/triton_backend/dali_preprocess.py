"""A DALI pipeline that turns encoded images into what a model takes, decoding JPEG on the GPU.

A guest: Triton's DALI backend, which NVIDIA's image has, loads it as ``dali.py`` from a version folder that
also holds the model's ``card.json``, and serialises it at load. Bytes ``image`` [n] to float32 ``pixels``
[3, 224, 224].

It does what `imagenet.preprocess` does, with the same sizes and the same crop; decoder and resampling are
DALI's. With its CPU operators (DALI 2.4.0, 24 synthetic images and 16 photographs, against Pillow 13.0.0) the
largest difference of a pixel was 1 of 255 levels for ResNet50's bilinear resize, and 7 for a bicubic one,
whose overshoot Pillow cuts off after each direction; on average it was 0.2. On a GPU nvJPEG's own rounding
comes on top, where nobody has compared it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nvidia import dali
from nvidia.dali import fn, types
from nvidia.dali.plugin.triton import autoserialize

_LARGEST_BATCH = 32
_FILTERS = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}


def shorter_side(extent: Any, shortest: Any, wanted: int) -> Any:
    """Return the length of a side of ``extent`` pixels once the shortest is ``wanted``, in whole ones."""
    return wanted * extent // shortest


def centre_start(extent: Any, crop: int) -> Any:
    """Return where a centred crop begins; a half is rounded to the even pixel, as Python's ``round`` does."""
    beside = extent - crop
    return (beside + (beside // 2 & 1)) // 2


@autoserialize  # type: ignore[untyped-decorator]
@dali.pipeline_def(batch_size=_LARGEST_BATCH, num_threads=4, device_id=0)  # type: ignore[untyped-decorator]
def pipeline(decoder: str = "mixed") -> Any:
    """Describe the pipeline for the card beside this file; ``decoder="cpu"`` needs no GPU."""
    card = json.loads(Path(__file__).with_name("card.json").read_text(encoding="utf-8"))
    encoded = fn.external_source(device="cpu", name="image", dtype=types.UINT8, ndim=1)
    # Pillow leaves pictures as they lie in the file, whatever their EXIF says.
    extents = fn.peek_image_shape(encoded, adjust_orientation=False, dtype=types.INT64)
    height, width = extents[0], extents[1]
    shortest = dali.math.min(height, width)
    sides = [shorter_side(side, shortest, card["resize"]) for side in (height, width)]
    images = fn.decoders.image(
        encoded, device=decoder, output_type=types.RGB, adjust_orientation=False, jpeg_fancy_upsampling=True
    )
    images = fn.resize(
        images,
        size=fn.stack(*(fn.cast(side, dtype=types.FLOAT) for side in sides)),
        interp_type=_FILTERS[card["interpolation"]],
        antialias=True,
    )
    images = fn.slice(
        images,
        start=fn.stack(*(fn.cast(centre_start(side, card["crop"]), dtype=types.INT32) for side in sides)),
        shape=[card["crop"]] * 2,
        axis_names="HW",
    )
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * each for each in card["mean"]],
        std=[255 * each for each in card["std"]],
    )
