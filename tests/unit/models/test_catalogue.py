from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import pytest_servebench.models
from pytest_servebench.errors import PlanError
from pytest_servebench.models.catalogue import CATALOGUE, ModelCard, model_card


def test_the_two_models_of_the_project_are_there() -> None:
    """The catalogue holds exactly the models that DESIGN promises."""
    assert set(CATALOGUE) == {"resnet50", "efficientnet_lite0"}


@pytest.mark.parametrize("card", CATALOGUE.values(), ids=lambda card: card.name)
def test_each_card_has_its_module(card: ModelCard) -> None:
    """A row of the table finds the module that builds its model."""
    assert (Path(pytest_servebench.models.__path__[0]) / f"{card.name}.py").is_file()


def test_cards_are_frozen() -> None:
    """A card cannot be changed under the artifacts that were made from it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        model_card("resnet50").resize = 232  # type: ignore[misc]


def test_each_model_has_its_own_interpolation() -> None:
    """EfficientNet-Lite0 was trained with bicubic resizing, ResNet50 with bilinear."""
    assert model_card("efficientnet_lite0").interpolation == "bicubic"
    assert model_card("resnet50").interpolation == "bilinear"


def test_an_unknown_model_names_the_known_ones() -> None:
    """A wrong --serve-model says what would have been right."""
    with pytest.raises(PlanError) as caught:
        model_card("resnet51")
    assert str(caught.value) == (
        "there is no model 'resnet51'\n"
        "  seen: the models are efficientnet_lite0, resnet50\n"
        "  next: choose one of them with --serve-model"
    )
