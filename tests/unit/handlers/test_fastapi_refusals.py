"""What the application refuses, and that it lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi_app.app import StartError, create_app
from fastapi_app.settings import Settings

from tests.unit.handlers.brightness import (
    BrightnessEngine,
    check,
    encoded,
    post,
    serving,
    tensor_body,
    until_waiting,
)


@pytest.mark.parametrize(
    ("path", "request_of", "status", "reason"),
    [
        ("/classify", {"files": {"file": b""}}, 400, "upload is empty"),
        ("/classify", {"files": {"other": b"x"}}, 400, "no image in the form field 'file'"),
        ("/classify", {"files": [("file", b"a"), ("file", b"b")]}, 400, "1 image(s) at most"),
        ("/classify", {"files": [("file", b"a")] * 9}, 400, "Too many files"),
        ("/classify", {"content": b"", "headers": {"content-type": "image/png"}}, 400, "the body is empty"),
        (
            "/classify",
            {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
            400,
            "Missing boundary",
        ),
        (
            "/classify",
            {"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400,
            "",
        ),
        ("/classify", {"json": {"file": "x"}}, 415, "content type 'application/json': send an image"),
        ("/classify", {"files": {"file": ("a.txt", b"x", "text/plain")}}, 415, "a.txt is text/plain"),
        ("/classify", {"files": {"file": b"no image"}}, 422, "upload: not a readable image"),
        ("/classify", {"files": {"file": encoded()[:60]}}, 422, "upload: not a readable image"),
        (
            "/classify",
            {"files": {"file": encoded(size=(1, 1_300_000))}},
            422,
            "pixels are more than 80000000",
        ),
        ("/classify_batch", {"files": [("files", b"a")] * 3}, 400, "2 image(s) at most"),
        ("/classify_batch", {"files": [("files", encoded()), ("files", b"a")]}, 422, "not a readable image"),
        ("/classify_batch", {"data": {"files": "x"}, "files": {"y": b"y"}}, 400, "is text, not a file"),
        (
            "/classify_batch",
            {"content": b"x", "headers": {"content-type": "image/png"}},
            415,
            "send multipart",
        ),
        (
            "/classify",
            {"content": b"x" * 20_001, "headers": {"content-type": "image/png"}},
            413,
            "20000 bytes",
        ),
        ("/classify", {"files": {"file": b"x" * 20_000}}, 413, "20000 bytes"),
        ("/nothing", {}, 404, "Not Found"),
    ],
)
def test_bad_upload_is_refused_with_a_reason(
    settings: Settings, path: str, request_of: dict[str, Any], status: int, reason: str
) -> None:
    """What is wrong with an upload decides the status, and the reason says it; the model never runs."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        response = await client.post(path, **request_of)
        assert response.status_code == status
        assert reason in response.json()["detail"]
        assert engine.batches == []

    check(settings, ask)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/classify", "image/png"),
        ("/classify", "multipart/form-data; boundary=b"),
        ("/v2/models/toy_onnx/infer", "application/json"),
    ],
)
def test_chunked_body_is_refused_while_it_grows(settings: Settings, path: str, content_type: str) -> None:
    """A body without a declared length is cut off at the limit, not read to its end."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        while sent < 1_000_000:
            sent += 5_000
            yield b"x" * 5_000

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        response = await client.post(path, content=endless(), headers={"Content-Type": content_type})
        assert response.status_code == 413
        assert sent <= 30_000

    check(settings, ask)


def test_full_queue_is_503_with_retry_after(settings: Settings) -> None:
    """A request that finds the queue full is told to come back; those that wait are answered."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        engine.gate.clear()
        path = "/classify_batched"
        accepted = [asyncio.create_task(post(client, path, encoded()))]
        await engine.has_begun()
        accepted += [asyncio.create_task(post(client, path, encoded())) for _ in range(2)]
        await until_waiting(client, 2)
        refused = await post(client, path, encoded())
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json() == {"detail": "2 requests already wait"}
        tensor = await client.post("/v2/models/toy_onnx/infer", json=tensor_body())
        assert (tensor.status_code, tensor.headers["Retry-After"]) == (503, "1")
        assert tensor.json() == {"error": "2 requests already wait"}
        engine.gate.set()
        assert [r.status_code for r in await asyncio.gather(*accepted)] == [200] * 3

    check(settings, ask)


def test_engine_failure_is_500_and_the_server_lives_on(settings: Settings) -> None:
    """A model that fails answers 500 with its reason, and serves the next request."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        engine.failing = True
        failed = await post(client, "/classify", encoded())
        assert failed.status_code == 500
        assert failed.json() == {"detail": "the model failed: RuntimeError: out of memory"}
        engine.failing = False
        assert (await post(client, "/classify", encoded())).status_code == 200

    check(settings, ask)


def test_client_that_hangs_up_leaves_the_queue(settings: Settings) -> None:
    """A request whose client is gone is not computed, and is counted as 499."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        engine.gate.clear()
        first = asyncio.create_task(post(client, "/classify", encoded()))
        await engine.has_begun()
        app = client._transport.app  # type: ignore[attr-defined]
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": encoded(), "more_body": False},
            {"type": "http.disconnect"},
        ]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(_: dict[str, Any]) -> None: ...

        headers = [(b"content-type", b"image/png")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/classify",
            "headers": headers,
            "query_string": b"",
        }
        await app(scope, receive, send)
        assert (await client.get("/health")).json()["queue_size"] == 0
        engine.gate.set()
        assert (await first).status_code == 200
        assert engine.batches == [1]
        assert 'status="499"' in (await client.get("/metrics")).text

    check(settings, ask)


def test_stopping_server_is_not_ready(settings: Settings) -> None:
    """A server that has begun to stop says so and takes nothing more."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        assert (await client.get("/v2/models/toy_onnx/ready")).status_code == 200
        await client._transport.app.state.service.batcher.close()  # type: ignore[attr-defined]
        assert (await client.get("/v2/health/ready")).status_code == 503
        refused = await client.post("/v2/models/toy_onnx/infer", json=tensor_body())
        assert (refused.status_code, refused.json()) == (503, {"error": "the server is stopping"})

    check(settings, ask)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "card.json").write_text("{"), "cannot load .*model.onnx"),
        (
            lambda folder: (folder / "labels.json").write_text('["one"]'),
            r"it gives \[1, 7\] for 1 image\(s\); its labels say \[1, 1\]",
        ),
    ],
)
def test_model_that_does_not_fit_does_not_start(
    settings: Settings, tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    """A model is run before the server is ready; what does not fit is said at start."""
    spoil(tmp_path)

    async def run() -> None:
        async with serving(create_app(settings, lambda _: BrightnessEngine())):
            pytest.fail("it started")

    with pytest.raises(StartError, match=reason):
        asyncio.run(run())
