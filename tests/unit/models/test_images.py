from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pillow

from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.models import images
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.images import EXPECTED_CLASSES, image_set
from pytest_servebench.models.preprocessing import preprocess
from pytest_servebench.models.reference import reference_logits
from pytest_servebench.plan import Artifact

CARD = model_card("resnet50")


def opened(jpeg: bytes) -> Pillow.Image:
    """Return the image with its header read."""
    return Pillow.open(io.BytesIO(jpeg))


@pytest.mark.parametrize("name", ["synthetic", "photographs"])
def test_each_image_is_a_jpeg_and_its_own_tensor(name: str) -> None:
    """Both payloads of an image have one reference: the tensor is made of the JPEG."""
    for index, image in enumerate(image_set(name, CARD, 8, 0)):
        assert image.index == index
        assert opened(image.jpeg).format == "JPEG"
        assert image.tensor.tobytes() == preprocess(image.jpeg, CARD).tobytes()


def test_synthetic_images_are_like_a_cameras() -> None:
    """Several sizes, 20 to 80 kB each, with colour and without flat areas."""
    made = image_set("synthetic", CARD, 12, 0)
    assert all(20_000 <= len(image.jpeg) <= 80_000 for image in made)
    assert len({opened(image.jpeg).size for image in made}) >= 4
    assert all(image.tensor.std() > 0.3 for image in made)


def test_a_seed_gives_the_same_images_again() -> None:
    """Two runs ask the same questions; another seed asks others."""
    first, again, other = (image_set("synthetic", CARD, 4, seed) for seed in (3, 3, 4))
    assert [image.jpeg for image in first] == [image.jpeg for image in again]
    assert not {image.jpeg for image in first} & {image.jpeg for image in other}


def test_a_larger_set_begins_with_the_smaller() -> None:
    """Image 2 is image 2, however many were asked for."""
    small, large = (image_set("synthetic", CARD, count, 0) for count in (3, 6))
    assert [image.jpeg for image in small] == [image.jpeg for image in large[:3]]


@pytest.mark.parametrize("name", ["synthetic", "photographs"])
def test_images_of_a_set_are_all_different(name: str) -> None:
    """An answer can only be traced to its image when no two are alike."""
    tensors = np.stack([image.tensor for image in image_set(name, CARD, 16, 0)])
    for index in range(1, 16):
        assert np.abs(tensors - np.roll(tensors, index, axis=0)).mean(axis=(1, 2, 3)).min() > 0.1


def test_a_file_that_is_a_jpeg_is_passed_through() -> None:
    """A photograph is sent as it came from the camera where it can be."""
    rocket = image_set("photographs", CARD, 3, 0)[2]
    assert rocket.name == "rocket"
    assert rocket.jpeg == (images._photograph_folder() / "rocket.jpg").read_bytes()


def test_the_photographs_are_named_right_by_real_weights(efficientnet: Artifact) -> None:
    """EfficientNet-Lite0 sees a cat, an espresso and a missile, from the JPEGs that are sent."""
    made = image_set("photographs", model_card("efficientnet_lite0"), 3, 0)
    seen = reference_logits(efficientnet, made).argmax(axis=1)
    assert {image.name: int(top) for image, top in zip(made, seen, strict=True)} == EXPECTED_CLASSES


def test_more_photographs_than_there_are_is_an_error() -> None:
    """No photograph is given twice under two indexes."""
    with pytest.raises(PlanError, match="there are 16 photographs, 17 were asked for"):
        image_set("photographs", CARD, 17, 0)


def test_an_unknown_set_names_the_known_ones() -> None:
    """A wrong word says which are right."""
    with pytest.raises(PlanError, match="no image set 'cats'\n  next: use one of: synthetic, photographs"):
        image_set("cats", CARD, 1, 0)


def test_without_scikit_image_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs that are not installed are one command away, and nothing is fetched by stealth."""
    monkeypatch.setattr(images, "find_spec", lambda _: None)
    with pytest.raises(MissingPieceError, match=r"pip install 'pytest-servebench\[photographs\]'"):
        image_set("photographs", CARD, 1, 0)
