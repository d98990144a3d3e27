"""A Triton python-backend model that turns encoded images into what a model takes.

A guest: Triton loads it as ``model.py`` from a version folder that also holds
``imagenet.py`` (this folder's sibling) and the model's ``card.json``.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from imagenet import Card, preprocess

Floats = npt.NDArray[np.float32]


class TritonPythonModel:
    """Encoded ``image`` BYTES [n, 1] to float32 ``pixels`` [n, 3, 224, 224]."""

    _card: Card
    _pool: ThreadPoolExecutor

    def initialize(self, args: dict[str, str]) -> None:
        """Read the card beside this file and start the decoding threads."""
        parameters = json.loads(args["model_config"]).get("parameters", {})
        threads = int(parameters.get("threads", {}).get("string_value", "1"))
        self._card = Card.read(Path(args["model_repository"]) / args["model_version"] / "card.json")
        # Pillow decodes and resizes without the interpreter lock.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request; a bad image is an error reply for its request only."""
        encoded = [_images(request) for request in requests]
        decoded = self._pool.map(self._decode, [image for images in encoded for image in images])
        return [_response([next(decoded) for _ in images]) for images in encoded]

    def _decode(self, encoded: bytes) -> Floats | Exception:
        try:
            return preprocess(encoded, self._card)
        except Exception as error:  # noqa: BLE001 (one image must not fail its neighbours, whatever it is)
            return error

    def finalize(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown()


def _images(request: Any) -> list[bytes]:
    rows = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
    return [bytes(image) for image in rows.ravel()]


def _response(images: list[Floats | Exception]) -> Any:
    bad = [f"image {i}: {image}" for i, image in enumerate(images) if isinstance(image, Exception)]
    if bad:
        return pb_utils.InferenceResponse(error=pb_utils.TritonError("; ".join(bad)))
    pixels = np.stack([image for image in images if not isinstance(image, Exception)])
    return pb_utils.InferenceResponse([pb_utils.Tensor("pixels", pixels)])
