"""torchvision's nvJPEG, stood in for: what it is asked is recorded, and Pillow decodes."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image


class RecordedGpu:
    """Stands in for torchvision's nvJPEG: decodes by Pillow on the CPU, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails: str = "", available: bool = True) -> None:
        self.calls: list[tuple[int, Any, str]] = []
        self.fails = fails
        self.unreadable: set[bytes] = set()
        module = SimpleNamespace(ImageReadMode=SimpleNamespace(RGB="rgb"), decode_jpeg=self.decode_jpeg)
        monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(io=module))
        monkeypatch.setitem(sys.modules, "torchvision.io", module)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: available)

    def decode_jpeg(self, encoded: list[torch.Tensor], *, mode: Any, device: str) -> list[torch.Tensor]:
        assert all(each.dtype == torch.uint8 and each.device.type == "cpu" for each in encoded)
        self.calls.append((len(encoded), mode, device))
        images = [each.numpy().tobytes() for each in encoded]
        if self.fails or self.unreadable & set(images):
            raise RuntimeError(self.fails or "Error while decoding JPEG images: unsupported")
        return [pixels(image) for image in images]


def pixels(encoded: bytes) -> torch.Tensor:
    """Return uint8 [3, height, width], as a decoder leaves it."""
    with Image.open(io.BytesIO(encoded)) as image:
        return torch.from_numpy(np.array(image.convert("RGB")).transpose(2, 0, 1).copy())
