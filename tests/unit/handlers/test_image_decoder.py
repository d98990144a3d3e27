"""What reads images in the servers: Pillow as ever; nvJPEG recorded, what torch does after it for real."""

from __future__ import annotations

import io
import sys
from typing import Any

import image_decoder
import numpy as np
import pytest
import torch
from image_decoder import NvjpegDecoder, PillowDecoder, as_the_model_reads, decoder_for, with_decoder
from imagenet import Card, pixels_of, preprocess
from PIL import Image

from tests.recorded_nvjpeg import RecordedGpu, pixels

CARD = Card("toy", 64, 56, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OF_MEMORY = "CUDA out of memory"


def noise(
    size: tuple[int, int] = (97, 71), mode: str = "RGB", kind: str = "JPEG", comment: bytes = b""
) -> bytes:
    """Return an encoded image of noise; ``comment`` tells equal ones apart."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(7).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    buffer = io.BytesIO()
    extra = {"comment": comment} if comment else {}
    Image.frombytes(mode, size, values.tobytes()).save(buffer, kind, **extra)
    return buffer.getvalue()


def numbers(read: list[Any]) -> list[Any]:
    """Return what was read, all of it."""
    assert not [each for each in read if isinstance(each, ValueError)]
    return read


def test_pillow_reads_as_the_servers_did() -> None:
    """Bit for bit, for both kinds of model, and bytes that are no image are an answer of their own."""
    image = noise()
    normal, bad = PillowDecoder().read([image, b"no image"], CARD, "float32")
    assert np.array_equal(np.asarray(normal), preprocess(image, CARD))
    assert "not a readable image" in str(bad)
    (read,) = numbers(PillowDecoder().read([image], CARD, "uint8"))
    assert np.array_equal(read, pixels_of(image, CARD))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "size", [(640, 480), (375, 500), (97, 71), (33, 41), (64, 64), (128, 128), (64, 300)]
)
def test_torch_resizes_and_crops_as_pillow(size: tuple[int, int], interpolation: str) -> None:
    """On the same pixels, larger, smaller or of the size already, a value differs by 1 of 255 at most."""
    card = Card("toy", 64, 56, interpolation, CARD.mean, CARD.std)
    image = noise(size)
    seen, expected = as_the_model_reads(pixels(image), card, "uint8").numpy(), pixels_of(image, card)
    assert (seen.shape, seen.dtype) == (expected.shape, np.uint8)
    differences = np.abs(seen.astype(int) - expected)
    assert differences.max() <= 1
    assert np.mean(differences > 0) <= 0.01


def test_torch_normalises_as_pillows_path_does() -> None:
    """An image that needs no resizing gives the same float32 numbers, to the last bits of a division."""
    image = noise((64, 64))
    seen = as_the_model_reads(pixels(image), CARD, "float32").numpy()
    assert seen.dtype == np.float32
    assert np.allclose(seen, preprocess(image, CARD), rtol=0, atol=1e-6)


def test_an_image_smaller_than_the_crop_gets_black_edges() -> None:
    """As by Pillow, whose crop reaches beyond the image, on odd differences too."""
    card = Card("toy", 51, 56, "bilinear", CARD.mean, CARD.std)
    image = noise((51, 51))
    assert np.array_equal(as_the_model_reads(pixels(image), card, "uint8").numpy(), pixels_of(image, card))


def test_nvjpeg_decodes_the_jpegs_of_a_call_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """One list, on the GPU that was named, as RGB; a PNG among them is Pillow's; the order stays."""
    gpu = RecordedGpu(monkeypatch)
    decoder = NvjpegDecoder("cuda:1")
    assert gpu.calls == [(1, "rgb", "cuda:1")]
    images = [noise((64, 64)), noise((64, 70), kind="PNG"), noise((80, 64), mode="L")]
    read = numbers(decoder.read(images, CARD, "uint8"))
    assert gpu.calls[1:] == [(2, "rgb", "cuda:1")]
    for seen, image in zip(read, images, strict=True):
        assert np.abs(seen.astype(int) - pixels_of(image, CARD)).max() <= 1


@pytest.mark.parametrize(
    "image",
    [noise()[:-40], noise(mode="CMYK"), b"no image", noise((9, 4000)), noise(kind="PNG")],
    ids=["broken off", "CMYK", "no image", "a line", "PNG"],
)
def test_what_is_no_plain_jpeg_is_pillows(monkeypatch: pytest.MonkeyPatch, image: bytes) -> None:
    """It is not shown to nvJPEG, and the answer, or the reason why there is none, is Pillow's."""
    monkeypatch.setattr("imagenet.MOST_PIXELS", 20_000 if image == noise((9, 4000)) else 80_000_000)
    gpu = RecordedGpu(monkeypatch)
    (seen,) = NvjpegDecoder("cuda").read([image], CARD, "uint8")
    assert len(gpu.calls) == 1
    (expected,) = PillowDecoder().read([image], CARD, "uint8")
    assert str(seen).partition(" at 0x")[0] == str(expected).partition(" at 0x")[0]


def test_one_that_nvjpeg_cannot_read_does_not_cost_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns all or none: then each is tried by itself, and the one is left to Pillow."""
    gpu = RecordedGpu(monkeypatch)
    decoder = NvjpegDecoder("cuda:0")
    images = [noise((64, 64), comment=name) for name in (b"a", b"b", b"c")]
    gpu.unreadable = {images[1]}
    read = numbers(decoder.read(images, CARD, "float32"))
    assert [count for count, *_ in gpu.calls[1:]] == [3, 1, 1, 1]
    assert np.array_equal(read[1], preprocess(images[1], CARD))


def test_no_room_on_the_gpu_leaves_an_image_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large image must not fail the requests that it shares a batch with."""
    RecordedGpu(monkeypatch)

    def no_room(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError(OF_MEMORY)

    monkeypatch.setattr(image_decoder, "as_the_model_reads", no_room)
    (seen,) = numbers(NvjpegDecoder("cuda:0").read([noise()], CARD, "uint8"))
    assert np.array_equal(seen, pixels_of(noise(), CARD))


def test_without_torchvision_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and by name; auto goes on with Pillow."""
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    with pytest.raises(RuntimeError, match=r"needs torchvision, which cannot be loaded .*pip install"):
        decoder_for("nvjpeg", "cuda:0")
    assert decoder_for("auto", "cuda:0").name == "pillow"


def test_without_a_gpu_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both a server on the CPU and a torch that sees no GPU are told which of the two it is."""
    RecordedGpu(monkeypatch, available=False)
    with pytest.raises(RuntimeError, match=r"a CUDA device, and torch sees none: install a driver"):
        decoder_for("nvjpeg", "cuda:0")
    with pytest.raises(RuntimeError, match=r"the server is on cpu: .*set the decoder to pillow"):
        decoder_for("nvjpeg", "cpu")


def test_a_torchvision_without_nvjpeg_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image is decoded before anybody sends one, and torchvision's words are in the reason."""
    RecordedGpu(monkeypatch, fails="decode_jpegs_cuda: torchvision not compiled with nvJPEG support")
    with pytest.raises(RuntimeError, match=r"not compiled with nvJPEG support: install the torchvision"):
        decoder_for("nvjpeg", "cuda:0")
    assert decoder_for("auto", "cuda:0").name == "pillow"


def test_auto_is_nvjpeg_where_it_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU alone: a server on the CPU asks torchvision nothing."""
    gpu = RecordedGpu(monkeypatch)
    assert decoder_for("auto", "cpu").name == decoder_for("pillow", "cuda:0").name == "pillow"
    assert gpu.calls == []
    assert decoder_for("auto", "cuda:0").name == "nvjpeg"
    with pytest.raises(RuntimeError, match="no decoder 'opencv': auto, pillow and nvjpeg are"):
        decoder_for("opencv", "cuda:0")


def test_what_decodes_is_among_the_options_told() -> None:
    """Beside what the engine says, which stays as it is."""
    facts = {"engine": "torch", "options": {"tf32": "off"}}
    assert with_decoder(facts, PillowDecoder())["options"] == {"tf32": "off", "decoder": "pillow"}
    assert facts["options"] == {"tf32": "off"}
