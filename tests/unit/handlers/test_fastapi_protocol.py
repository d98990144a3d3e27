"""The application speaks the open inference protocol."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
from fastapi_app.settings import Settings

from tests.unit.handlers.brightness import (
    BrightnessEngine,
    check,
    tensor_body,
)


def test_tensor_route_answers_logits(settings: Settings) -> None:
    """The inference protocol gives raw scores of each image, and echoes the request's id."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        response = await client.post("/v2/models/toy_onnx/infer", json={"id": "r1", **tensor_body(2)})
        answer = response.json()
        assert answer["id"] == "r1"
        assert answer["outputs"][0]["shape"] == [2, 7]
        assert np.argmax(np.reshape(answer["outputs"][0]["data"], (2, 7)), axis=1).tolist() == [6, 6]
        assert engine.batches == [2]

    check(settings, ask)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        (
            "POST",
            "/v2/models/other/infer",
            404,
            "no model 'other' version 1 here; this server has 'toy_onnx'",
        ),
        ("POST", "/v2/models/toy_onnx/versions/2/infer", 404, "no model 'toy_onnx' version 2 here"),
        ("GET", "/v2/models/other", 404, "no model 'other'"),
        ("GET", "/v2/models/other/ready", 404, "no model 'other'"),
        ("GET", "/v2/models/toy_onnx/infer", 405, "Method Not Allowed"),
        ("GET", "/v2/nothing", 404, "Not Found"),
        ("POST", "/v2/models/toy_onnx/infer", 400, "the request is not JSON"),
    ],
)
def test_protocol_errors_are_the_protocols(
    settings: Settings, method: str, path: str, status: int, error: str
) -> None:
    """Errors under /v2 are ``{"error": ...}``, as the protocol's clients read them."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        response = await client.request(method, path)
        assert response.status_code == status
        assert error in response.json()["error"]

    check(settings, ask)


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"Inference-Header-Content-Length": "-3"}, 400, "'-3', not a number of bytes"),
        ({"Inference-Header-Content-Length": "9" * 30}, 400, "the body has"),
        ({"Content-Encoding": "gzip"}, 415, "compressed requests are not supported"),
    ],
)
def test_wrong_protocol_headers_are_refused(
    settings: Settings, headers: dict[str, str], status: int, error: str
) -> None:
    """A header that cannot be honoured is an error, not ignored."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        response = await client.post("/v2/models/toy_onnx/infer", json=tensor_body(), headers=headers)
        assert response.status_code == status
        assert error in response.json()["error"]

    check(settings, ask)
