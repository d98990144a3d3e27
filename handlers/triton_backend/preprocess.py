"""A Triton python-backend model that turns encoded images into what a model takes.

A guest: Triton loads it as ``model.py`` from a version folder that also holds ``imagenet.py`` and
``image_decoder.py`` (this folder's siblings) and the model's ``card.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from image_decoder import Decoder, decoder_for
from imagenet import Card

Pixels = npt.NDArray[Any]
_DTYPE = "float32"


class TritonPythonModel:
    """Encoded ``image`` BYTES [n, 1] to float32 ``pixels`` [n, 3, 224, 224]."""

    _card: Card
    _decoder: Decoder
    _pool: ThreadPoolExecutor

    def initialize(self, args: dict[str, str]) -> None:
        """Read the card beside this file and start what decodes; raises where that is not there."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        told = {key: str(value["string_value"]) for key, value in parameters.items()}
        self._card = Card.read(Path(args["model_repository"]) / args["model_version"] / "card.json")
        self._decoder = decoder_for(told.get("decoder", "pillow"), told.get("device", "cpu"))
        # Pillow decodes and resizes without the interpreter lock.
        self._pool = ThreadPoolExecutor(int(told.get("threads", "1")), thread_name_prefix="decode")
        facts = json.dumps({"decoder": self._decoder.name})
        pb_utils.Logger.log_info(f"servebench serves {args['model_name']}: {facts}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad image is an error reply for its request only."""
        encoded = [_images(request) for request in requests]
        everything = [image for images in encoded for image in images]
        parts = [everything] if self._decoder.takes_batches else [[image] for image in everything]
        decoded = iter([one for part in self._pool.map(self._decode, parts) for one in part])
        return [_response([next(decoded) for _ in images]) for images in encoded]

    def _decode(self, encoded: list[bytes]) -> Sequence[Pixels | Exception]:
        try:
            return self._decoder.read(encoded, self._card, _DTYPE)
        except Exception as error:  # noqa: BLE001 (one image must not fail its neighbours, whatever it is)
            if len(encoded) == 1:
                return [error]
            return [one for image in encoded for one in self._decode([image])]

    def finalize(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown()


def _images(request: Any) -> list[bytes]:
    rows = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
    return [bytes(image) for image in rows.ravel()]


def _response(images: list[Pixels | Exception]) -> Any:
    bad = [f"image {i}: {image}" for i, image in enumerate(images) if isinstance(image, Exception)]
    if bad:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError("; ".join(bad)))
    pixels = np.stack([image for image in images if not isinstance(image, Exception)])
    return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])
