"""Puts the normalisation before a TorchScript model, so that its input is the pixels themselves.

Only the process that makes model files imports this module: it needs torch.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pytest_servebench.models.catalogue import ModelCard

_PART = 2.0**-30
"""Every float32 of 1/128 and more is a whole number of these."""


class PixelInput(nn.Module):
    """What `preprocessing.normalised` does, then the model: uint8 [n, 3, height, width] to its logits.

    It may be cast (``.half()``) and moved like the model itself: the normalisation stays in float32, and
    what it gives on has the type of the model's weights.
    """

    def __init__(self, model: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.model = model
        # As integers: ``.half()`` casts every buffer of floats, and a mean in fp16 is another mean.
        self.register_buffer("mean_parts", _parts(card.mean))
        self.register_buffer("std_parts", _parts(card.std))
        self.register_buffer("like_weights", torch.zeros(()))

    mean_parts: Tensor
    std_parts: Tensor
    like_weights: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the model's logits."""
        mean, std = self.mean_parts.float() * _PART, self.std_parts.float() * _PART
        normalised = (pixels.float() / 255 - mean) / std
        logits: Tensor = self.model(normalised.type_as(self.like_weights))
        return logits


def _parts(values: tuple[float, float, float]) -> Tensor:
    return (torch.tensor(values).double() / _PART).round().long().view(1, 3, 1, 1)


def torchscript_with_pixel_input(source: Path, target: Path, card: ModelCard) -> None:
    """Write ``source``, a TorchScript file for float32 input, for uint8 input of that shape to ``target``."""
    wrapped = PixelInput(torch.jit.load(str(source), map_location="cpu"), card).eval()
    # A batch of one would be traced as a constant in places.
    example = torch.zeros((2, *card.input_shape), dtype=torch.uint8)
    with torch.inference_mode():
        torch.jit.trace(wrapped, example, check_trace=False).save(str(target))
