"""How the servers ask a decoder that takes many images in one call, as nvJPEG does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi_app.app import StartError, create_app
from fastapi_app.settings import Settings
from image_decoder import PillowDecoder, Read
from imagenet import Card

from tests.unit.handlers.brightness import BrightnessEngine, encoded, post, serving
from tests.unit.handlers.torchserve_guest import Served, best, tensor
from tests.unit.handlers.torchserve_guest import encoded as level


class OneCall:
    """Stands in for nvJPEG: reads by Pillow, and keeps how many images came in each call."""

    name = "nvjpeg"
    takes_batches = True

    def __init__(self) -> None:
        self.calls: list[int] = []

    def read(self, images: Sequence[bytes], card: Card, dtype: str) -> list[Read]:
        self.calls.append(len(images))
        return PillowDecoder().read(images, card, dtype)


def test_fastapi_decodes_the_images_of_a_request_in_one_call(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order sent, by the decoder that was asked for, which /health names; a bad one is named too."""
    decoder = OneCall()
    asked: list[tuple[str, str]] = []

    def decoder_for(word: str, device: str) -> OneCall:
        asked.append((word, device))
        return decoder

    monkeypatch.setattr("fastapi_app.app.decoder_for", decoder_for)

    async def ask() -> None:
        gpus = settings.model_copy(update={"device": "cuda:1,2", "decoder": "auto"})
        async with serving(create_app(gpus, lambda _: BrightnessEngine())) as client:
            reply = await post(client, "/classify_batch", encoded(255), encoded(0), field="files")
            named = [one["predictions"][0]["class_id"] for one in reply.json()["results"]]
            assert named == [6, 0]
            bad = await post(client, "/classify_batch", encoded(255), b"no image", field="files")
            assert bad.status_code == 422
            assert "a.png: not a readable image" in bad.json()["detail"]
            served_as = (await client.get("/health")).json()["served"]
            assert served_as["options"] == {"decoder": "nvjpeg"}

    asyncio.run(ask())
    assert asked == [("auto", "cuda:1")]
    assert decoder.calls == [2, 2]


def test_a_decoder_that_cannot_be_had_stops_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is loaded, with the decoder's own words."""

    def refused(*_: Any) -> None:
        raise RuntimeError("the decoder nvjpeg needs torchvision")

    monkeypatch.setattr("fastapi_app.app.decoder_for", refused)
    loaded: list[Settings] = []

    def load(of: Settings) -> BrightnessEngine:
        loaded.append(of)
        return BrightnessEngine()

    async def start() -> None:
        async with serving(create_app(settings, load)):
            pass

    with pytest.raises(StartError, match="the decoder nvjpeg needs torchvision"):
        asyncio.run(start())
    assert loaded == []


def test_torchserve_decodes_the_images_of_a_batch_in_one_call(served: Served) -> None:
    """Of all its requests, beside numbers, each answered to whom it belongs; a bad one fails its own."""
    decoder = OneCall()
    served.classifier._decoder = decoder
    image = "image/jpeg"
    two, numbers, bad, half, last = served.ask(
        {"a": (level(255), image), "b": (level(0), image)},
        tensor(0.1),
        {"body": (b"no image", image)},
        {"a": (level(0), image), "b": ("not base64!", "text/plain")},
        {"body": (level(255), image)},
    )
    assert decoder.calls == [5]
    assert [row["predictions"][0]["class_id"] for row in two["results"]] == [30, 10]
    assert (best(numbers), best(last)) == (21, 30)
    assert bad["message"].startswith("image 0: not a readable image")
    assert half["message"].startswith("image 1: text that is not base64")
    assert set(served.context.statuses) == {2, 3}
    assert served.classifier.describe_handle()["options"] == {"decoder": "nvjpeg"}


@pytest.mark.parametrize(
    ("handler", "environment", "expected"),
    [({}, "", "pillow"), ({}, "auto", "auto"), ({"decoder": "pillow"}, "nvjpeg", "pillow")],
)
def test_torchserve_takes_the_archives_word_before_the_environments(
    served: Served, monkeypatch: pytest.MonkeyPatch, handler: dict[str, str], environment: str, expected: str
) -> None:
    """An archive that says nothing leaves it to whoever started the server, who may say nothing either."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setenv("SERVEBENCH_DECODER", environment)
    initialize = type(served.classifier).initialize
    monkeypatch.setitem(initialize.__globals__, "decoder_for", lambda *words: asked.append(words))
    served.context.model_yaml_config = {"handler": handler}
    initialize(served.classifier, served.context)
    assert asked == [(expected, "cpu")]
