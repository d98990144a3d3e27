"""EfficientNet-Lite0 from its Python packages, with real ImageNet weights.

Only the export process imports this module: it needs torch, which the pytest
process never loads.
"""

from __future__ import annotations

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from pytest_servebench.models.weights import Weights


def build(weights: Weights) -> nn.Module:
    """Return the model with ``weights``, ready for inference.

    Raises ``RuntimeError`` naming the keys when a state dict is not EfficientNet-Lite0's.
    """
    assert weights.path is not None, "the catalogue names packaged weights"
    # Not from_pretrained: it prints, and reads any pickle.
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(weights.path, map_location="cpu", weights_only=True)
    model.load_state_dict(state, strict=True)
    return model.eval()
