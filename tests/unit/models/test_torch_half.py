"""A TorchScript file in half precision computes in it by itself, and keeps floats on the wire."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_servebench.models.torch_half import DTYPES, torchscript_in_half
from pytest_servebench.plan import ModelFormat, Precision
from tests.tiny_model import build_tiny_model

SHAPE = (3, 224, 224)


@pytest.fixture(autouse=True)
def _torchscript_lives() -> Any:
    """As in tests/tiny_model.py: torch announces the end of TorchScript at each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("precision", "within"), [(Precision.FP16, 2e-2), (Precision.BF16, 2e-1)])
def test_it_takes_and_returns_floats_and_computes_in_half(
    tmp_path: Path, precision: Precision, within: float
) -> None:
    """Weights are of the precision, logits near those in fp32 and not equal, for batches of any size."""
    source = build_tiny_model(tmp_path, ModelFormat.PYTORCH).path
    torchscript_in_half(source, tmp_path / "half.pt", precision, SHAPE)
    whole, half = torch.jit.load(str(source)), torch.jit.load(str(tmp_path / "half.pt"))
    assert {weight.dtype for weight in half.parameters()} == {DTYPES[precision]}
    with torch.inference_mode():
        for images in (1, 5):
            batch = torch.randn(images, *SHAPE)
            logits, expected = half(batch), whole(batch)
            assert (logits.dtype, logits.shape) == (torch.float32, (images, 1000))
            apart = (logits - expected).abs().max() / (expected.max() - expected.min())
            assert 0 < apart < within
