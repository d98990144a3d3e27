"""ResNet50, defined here with torchvision's parameter names, so that its ImageNet weights load unchanged.

Architecture: He et al., "Deep Residual Learning for Image Recognition" (2015), with the
stride in the 3x3 convolution as torchvision has it ("v1.5"). Only the export process
imports this module: it needs torch, which the pytest process never loads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pytest_servebench.models.weights import Weights

_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Width, blocks and stride of ``layer1`` to ``layer4``."""
_EXPANSION = 4
_LOGIT_DEVIATION = 2.5
"""Of seeded logits: most confidences lie between 0.2 and 0.9, so neither equal nor saturated."""
_BRANCH_GAIN = 0.2
_SHRINKAGE = 0.1


class Bottleneck(nn.Module):
    """Three convolutions around a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * _EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return float [n, 4 * width, height / stride, width / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x)) + shortcut
        activated: Tensor = self.relu(x)
        return activated


class ResNet50(nn.Module):
    """50 layers, 25,557,032 parameters: float32 [n, 3, 224, 224] to logits [n, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for number, (width, blocks, stride) in enumerate(_STAGES, start=1):
            self.add_module(f"layer{number}", _stage(channels, width, blocks, stride))
            channels = width * _EXPANSION
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, 1000)

    def features(self, x: Tensor) -> Tensor:
        """Return what the last layer reads, float [n, 2048]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        pooled: Tensor = self.avgpool(x)
        return pooled.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float [n, 1000]."""
        logits: Tensor = self.fc(self.features(x))
        return logits


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, width, stride)
    rest = [Bottleneck(width * _EXPANSION, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def build(weights: Weights) -> nn.Module:
    """Return the model with ``weights``, ready for inference.

    Raises ``RuntimeError`` naming the keys when a state dict is not ResNet50's.
    """
    model = ResNet50()
    if weights.path is None:
        _seed(model, weights.seed)
    else:
        model.load_state_dict(torch.load(weights.path, map_location="cpu", weights_only=True), strict=True)
    return model.eval()


def _seed(model: ResNet50, seed: int) -> None:
    """Give ``model`` random weights whose outputs stay finite and differ clearly between images.

    A plainly initialised ResNet50 answers almost the same for every image: what all
    images share grows from layer to layer. So the BatchNorm statistics are taken from
    seeded images, the residual branches are damped, and the last layer is fitted to what
    sets these images apart.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics become those of the one batch seen
        elif isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _BRANCH_GAIN)
    with torch.inference_mode():
        model.train()
        features = model.features(_calibration_images(generator))
        _fit_last_layer(model.fc, features, generator)


def _fit_last_layer(fc: nn.Linear, features: Tensor, generator: torch.Generator) -> None:
    """Set ``fc`` to random directions of the centred and whitened ``features``.

    Whitened, so that not the few loudest features decide every image's class. The
    covariance is shrunk towards a multiple of the identity, whose root then acts on the
    directions that the few images do not span.
    """
    mean = features.mean(0)
    _, deviations, axes = torch.linalg.svd(features - mean, full_matrices=False)
    floor = _SHRINKAGE * deviations.square().mean()
    gains = (deviations.square() + floor).rsqrt() - floor.rsqrt()
    random = torch.randn(fc.weight.shape, generator=generator)
    weight = (random @ axes.T * gains) @ axes + random * floor.rsqrt()
    weight *= _LOGIT_DEVIATION / ((features - mean) @ weight.T).std()
    fc.weight.copy_(weight)
    fc.bias.copy_(-weight @ mean)


def _calibration_images(generator: torch.Generator) -> Tensor:
    """Return float [32, 3, 128, 128] with the scales of photographs: coarse colour under fine detail.

    Contrast and brightness vary as widely as between a page of text and a night sky. They
    are smaller than the images served, for the time's sake.
    """
    count, side = 32, 128
    images = torch.zeros(count, 3, side, side)
    for cells, share in ((2, 1.0), (5, 0.7), (16, 0.4), (64, 0.2)):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        images += share * nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
    contrast = torch.logspace(-1, 0.1, count).view(-1, 1, 1, 1)
    brightness = 0.7 * torch.randn(count, 3, 1, 1, generator=generator)
    return (images * contrast + brightness).clamp(-2.1, 2.6)
