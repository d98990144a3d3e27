from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.errors import MissingPieceError, ModelError
from pytest_servebench.models import reference
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.images import image_set
from pytest_servebench.models.reference import reference_logits
from pytest_servebench.plan import Artifact, Image, ModelFormat

CARD = model_card("efficientnet_lite0")


@pytest.fixture(scope="module")
def pictures() -> tuple[Image, ...]:
    """Return ten images: more than one batch."""
    return image_set("synthetic", CARD, 10, 0)


@pytest.fixture
def model(efficientnet: Artifact, tmp_path: Path) -> Artifact:
    """Return an artifact in a folder of its own, with no reference kept."""
    shutil.copyfile(efficientnet.path, tmp_path / "model.onnx")
    return dataclasses.replace(efficientnet, path=tmp_path / "model.onnx")


def kept(model: Artifact) -> list[Path]:
    """Return the references kept beside ``model``."""
    return sorted(model.path.parent.glob("reference-*"))


def test_each_row_is_its_images(model: Artifact, pictures: tuple[Image, ...]) -> None:
    """Asked one by one or all at once, an image has the same reference."""
    together = reference_logits(model, pictures)
    assert together.shape == (10, 1000)
    assert together.dtype == np.float32
    alone = np.concatenate([reference_logits(model, [image]) for image in pictures])
    assert np.abs(together - alone).max() / np.ptp(together) < 1e-5


def test_it_is_computed_once(
    model: Artifact, pictures: tuple[Image, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second session reads the reference of the same model and images."""
    first = reference_logits(model, pictures)
    monkeypatch.setattr(reference, "_session", lambda _: pytest.fail("computed again"))
    assert reference_logits(model, pictures).tobytes() == first.tobytes()
    assert len(kept(model)) == 1


def test_other_images_have_another_reference(model: Artifact, pictures: tuple[Image, ...]) -> None:
    """The order of images belongs to the key: a reference is never another set's."""
    forward = reference_logits(model, pictures[:2])
    backward = reference_logits(model, pictures[1::-1])
    assert len(kept(model)) == 2
    assert np.abs(forward - backward[::-1]).max() < 1e-3
    assert np.abs(forward - backward).max() > 0.1


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not an array"])
def test_a_broken_file_is_computed_again(model: Artifact, pictures: tuple[Image, ...], damage: bytes) -> None:
    """A half-written reference is never compared with."""
    first = reference_logits(model, pictures[:2])
    kept(model)[0].write_bytes(damage)
    assert np.array_equal(reference_logits(model, pictures[:2]), first)
    assert np.array_equal(np.load(kept(model)[0]), first)


def test_torchscript_has_the_reference_of_the_onnx_file(model: Artifact, pictures: tuple[Image, ...]) -> None:
    """One reference for both formats, so that formats are compared with the same thing."""
    script = dataclasses.replace(model, path=model.path.with_name("model.pt"), format=ModelFormat.PYTORCH)
    assert np.array_equal(reference_logits(script, pictures[:1]), reference_logits(model, pictures[:1]))


def test_a_model_that_is_none_is_an_error(model: Artifact, pictures: tuple[Image, ...]) -> None:
    """A file that onnxruntime cannot read is named, with its reason."""
    model.path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"the model could not be loaded\n  where: .*model.onnx\n  seen: "):
        reference_logits(model, pictures[:1])


def test_a_missing_onnx_file_is_an_error(model: Artifact, pictures: tuple[Image, ...]) -> None:
    """The error says which file the reference needs."""
    model.path.unlink()
    with pytest.raises(ModelError, match=r"which cannot be read\n  where: .*model.onnx"):
        reference_logits(model, pictures[:1])


def test_outputs_that_are_not_finite_are_refused(model: Artifact, pictures: tuple[Image, ...]) -> None:
    """A model that says NaN is no reference."""
    broken = dataclasses.replace(pictures[0], tensor=np.full((3, 224, 224), np.nan, np.float32))
    with pytest.raises(ModelError, match="not finite"):
        reference_logits(model, [broken])
    assert not kept(model)


def test_no_images_is_an_error(model: Artifact) -> None:
    """An empty reference would make every comparison pass."""
    with pytest.raises(ModelError, match="at least one image"):
        reference_logits(model, [])


def test_without_onnxruntime_the_extra_is_named(
    model: Artifact, pictures: tuple[Image, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing onnxruntime is one command away."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPieceError, match=r"pip install 'pytest-servebench\[models\]'"):
        reference_logits(model, pictures[:1])
