"""Makes a TorchScript file that computes in fp16 or bf16 by itself; it takes and returns float32.

For servers that run such a file as it is, without a cast of their own: NVIDIA's PyTorch backend of Triton.
Only the process that makes model files imports this module: it needs torch.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pytest_servebench.plan import Precision

DTYPES = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


class InHalf(nn.Module):
    """A model whose weights and arithmetic are of ``dtype``; the casts at its ends are part of it."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model.to(dtype)
        self.dtype = dtype

    def forward(self, batch: Tensor) -> Tensor:
        """Return float32 logits of float32 [n, 3, height, width]."""
        logits: Tensor = self.model(batch.to(self.dtype)).float()
        return logits


def torchscript_in_half(
    source: Path, target: Path, precision: Precision, input_shape: tuple[int, int, int]
) -> None:
    """Write ``source``, a TorchScript file in fp32, with weights and arithmetic in ``precision``."""
    wrapped = InHalf(torch.jit.load(str(source), map_location="cpu"), DTYPES[precision]).eval()
    # A batch of one would be traced as a constant in places.
    example = torch.zeros((2, *input_shape))
    with torch.inference_mode():
        torch.jit.trace(wrapped, example, check_trace=False).save(str(target))
