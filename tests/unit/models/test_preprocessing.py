from __future__ import annotations

import importlib.util
import io
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from pytest_servebench.errors import ModelError
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.models.catalogue import CATALOGUE, ModelCard, model_card
from pytest_servebench.models.preprocessing import pixels_of, preprocess

SIZES = [(224, 224), (256, 256), (500, 375), (375, 500), (451, 300), (333, 257), (31, 77), (1, 1), (1200, 64)]
MODES = ["RGB", "L", "RGBA", "CMYK", "P", "1", "LA", "I;16"]
FILE_TYPES = {"RGBA": "PNG", "P": "PNG", "1": "PNG", "LA": "PNG", "I;16": "PNG"}


@pytest.fixture(scope="module")
def guest() -> ModuleType:
    """Return handlers/imagenet.py as a server loads it: by its path, knowing nothing of this package."""
    spec = importlib.util.spec_from_file_location("guest_imagenet", shipped("handlers") / "imagenet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def guest_card(guest: ModuleType, card: ModelCard) -> object:
    """Return ``card`` as the guests have it."""
    return guest.Card(card.name, card.resize, card.crop, card.interpolation, card.mean, card.std)


def encoded(mode: str, size: tuple[int, int], **settings: object) -> bytes:
    """Return noise of ``mode`` and ``size``, as JPEG where the mode allows it."""
    generator = np.random.default_rng(len(mode) + size[0])
    noise = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    image = noise.convert("RGB").convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.save(buffer, FILE_TYPES.get(mode, "JPEG"), **settings)
    return buffer.getvalue()


@pytest.mark.parametrize("card", CATALOGUE.values(), ids=lambda card: card.interpolation)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_client_and_guest_agree_bit_for_bit(
    guest: ModuleType, card: ModelCard, mode: str, size: tuple[int, int]
) -> None:
    """What a server makes of an image is exactly what the client's reference is computed from."""
    image = encoded(mode, size)
    mine = preprocess(image, card)
    theirs = guest.preprocess(image, guest_card(guest, card))
    assert np.array_equal(guest.pixels_of(image, guest_card(guest, card)), pixels_of(image, card))
    assert mine.dtype == theirs.dtype == np.float32
    assert mine.shape == theirs.shape == (3, 224, 224)
    assert mine.flags.c_contiguous
    assert mine.tobytes() == theirs.tobytes()


def test_a_palette_with_transparency_is_read_without_a_warning(guest: ModuleType) -> None:
    """Transparency is dropped on purpose by both; with warnings as errors nothing is raised."""
    card = model_card("resnet50")
    image = encoded("P", (300, 300), transparency=bytes(range(256)))
    assert preprocess(image, card).tobytes() == guest.preprocess(image, guest_card(guest, card)).tobytes()


def test_one_colour_is_normalised_by_hand_calculation() -> None:
    """(value / 255 - mean) / std for each channel, in the order red, green, blue."""
    buffer = io.BytesIO()
    Image.new("RGB", (300, 260), (255, 0, 51)).save(buffer, "PNG")
    tensor = preprocess(buffer.getvalue(), model_card("resnet50"))
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(tensor.mean(axis=(1, 2)), expected, rtol=1e-5)
    np.testing.assert_allclose(tensor.std(axis=(1, 2)), 0, atol=1e-5)


def test_the_crop_is_the_centre() -> None:
    """Of an image already 256 high, the middle 224 columns and rows are kept, unscaled."""
    pixels = np.zeros((256, 300, 3), np.uint8)
    pixels[16:240, 38:262] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    tensor = preprocess(buffer.getvalue(), model_card("resnet50"))
    assert float(np.ptp(tensor[0])) == 0
    assert tensor[0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)


BROKEN = {
    "empty": b"",
    "text": b"not an image",
    "truncated": encoded("RGB", (300, 300))[:3000],
    "header only": encoded("RGBA", (300, 300))[:60],
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
def test_broken_images_have_one_error_with_a_reason(guest: ModuleType, content: bytes) -> None:
    """The client raises ModelError and the guest ValueError, each with Pillow's reason."""
    card = model_card("resnet50")
    with pytest.raises(ModelError, match=r"these bytes are no image that can be used\n  seen: .+"):
        preprocess(content, card)
    with pytest.raises(ValueError, match=r"not a readable image: .+"):
        guest.preprocess(content, guest_card(guest, card))


def test_a_line_of_pixels_is_refused(guest: ModuleType) -> None:
    """A few bytes cannot make a client or a server fill its memory with a resized strip."""
    card = model_card("resnet50")
    line = io.BytesIO()
    Image.new("L", (1, 60_000)).save(line, "PNG")
    with pytest.raises(ModelError, match="256 x 15360000 pixels"):
        preprocess(line.getvalue(), card)
    with pytest.raises(ValueError, match="256 x 15360000 pixels"):
        guest.preprocess(line.getvalue(), guest_card(guest, card))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(guest: ModuleType) -> None:
    """A header that claims 88 million pixels is believed enough to be refused."""
    card = model_card("resnet50")
    bomb = io.BytesIO()
    Image.new("1", (9_500, 9_300)).save(bomb, "PNG")
    with pytest.raises(ModelError, match="9500 x 9300 pixels"):
        preprocess(bomb.getvalue(), card)
    with pytest.raises(ValueError, match="9500 x 9300 pixels"):
        guest.preprocess(bomb.getvalue(), guest_card(guest, card))
