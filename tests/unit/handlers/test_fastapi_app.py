"""The application's routes, asked in this process, with an engine that waits for the test."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi_app.app import StartError, create_app
from fastapi_app.batcher import Floats
from fastapi_app.settings import Settings
from PIL import Image

CROP = 8
LABELS = [f"class {i}" for i in range(7)]
TIMEOUT_S = 20
Ask = Callable[[httpx.AsyncClient, "BrightnessEngine"], Awaitable[None]]


class BrightnessEngine:
    """Says class 6 of white images and class 0 of black ones; holds while its gate is shut."""

    name = "brightness"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failing = False
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)

    def run(self, batch: Floats) -> Floats:
        self.batches.append(len(batch))
        self.began.release()
        assert self.gate.wait(TIMEOUT_S)
        if self.failing:
            raise RuntimeError("out of memory")
        logits = np.zeros((len(batch), len(LABELS)), dtype=np.float32)
        # The card's deviation of 0.5 about 0.5 makes black -1 and white 1.
        classes = np.round((batch.mean(axis=(1, 2, 3)) + 1) * 3).astype(int)
        logits[np.arange(len(batch)), classes.clip(0, 6)] = 5
        return logits

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.began.acquire, timeout=TIMEOUT_S)


def encoded(grey: int = 255, image_format: str = "PNG", size: tuple[int, int] = (20, 16)) -> bytes:
    """Return an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(file, image_format)
    return file.getvalue()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a small server: two images a batch, two requests waiting."""
    (tmp_path / "model.onnx").touch()
    card = {"resize": CROP, "crop": CROP, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "card.json").write_text(json.dumps({"name": "toy", **card}))
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    return Settings(
        model_path=tmp_path / "model.onnx",
        max_batch_size=2,
        queue_size=2,
        hold="never",
        max_body_bytes=20_000,
    )


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application's lifespan around a client of it."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


def check(settings: Settings, ask: Ask) -> None:
    """Run ``ask`` against a server whose warm-up is over; it must not hang."""

    async def run() -> None:
        engine = BrightnessEngine()
        async with serving(create_app(settings, lambda _: engine)) as client:
            engine.batches.clear()
            while engine.began.acquire(blocking=False):
                pass
            try:
                await ask(client, engine)
            finally:
                engine.gate.set()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


async def post(client: httpx.AsyncClient, path: str, *images: bytes, field: str = "file") -> httpx.Response:
    """Upload images as a form does."""
    return await client.post(path, files=[(field, ("a.png", image, "image/png")) for image in images])


async def until_waiting(client: httpx.AsyncClient, requests: int) -> None:
    """Return when as many requests wait in the server's queue."""
    while (await client.get("/health")).json()["queue_size"] < requests:  # noqa: ASYNC110 (it is asked, not told)
        await asyncio.sleep(0)


def tensor_body(images: int = 1, value: float = 1.0) -> dict[str, Any]:
    """Return a JSON inference request."""
    shape = [images, 3, CROP, CROP]
    return {
        "inputs": [
            {
                "name": "input",
                "shape": shape,
                "datatype": "FP32",
                "data": [value] * (images * 3 * CROP * CROP),
            }
        ]
    }


@pytest.mark.parametrize("path", ["/classify", "/classify_batched"])
def test_one_image_is_named(settings: Settings, path: str) -> None:
    """An answer has the reference's fields: top-5 by softmax probability, time, batch and index."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        answer = (await post(client, path, encoded(255))).json()
        assert set(answer) == {"predictions", "processing_time_ms", "batch_size", "image_index"}
        assert answer["predictions"][0]["class_id"] == 6
        assert answer["predictions"][0]["class_name"] == "class 6"
        assert answer["predictions"][0]["confidence"] == pytest.approx(np.exp(5) / (np.exp(5) + 6))
        assert len(answer["predictions"]) == 5
        assert (answer["batch_size"], answer["image_index"]) == (1, 0)
        assert answer["processing_time_ms"] > 0

    check(settings, ask)


@pytest.mark.parametrize("path", ["/classify", "/classify_batched"])
def test_image_may_be_the_body(settings: Settings, path: str) -> None:
    """A body of type image/* needs no form around it."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        headers = {"Content-Type": "image/jpeg; q=1"}
        response = await client.post(path, content=encoded(0, "JPEG"), headers=headers)
        assert response.json()["predictions"][0]["class_id"] == 0

    check(settings, ask)


def test_images_of_a_batch_are_answered_in_order(settings: Settings) -> None:
    """Each image of a batch has its own result at its own index, from one execution."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        answer = (await post(client, "/classify_batch", encoded(255), encoded(0), field="files")).json()
        assert set(answer) == {"results", "processing_time_ms", "batch_size"}
        best = [(r["image_index"], r["predictions"][0]["class_id"]) for r in answer["results"]]
        assert best == [(0, 6), (1, 0)]
        assert answer["batch_size"] == 2
        assert engine.batches == [2]

    check(settings, ask)


def test_batched_images_share_an_execution_and_single_ones_do_not(settings: Settings) -> None:
    """/classify_batched meets other clients' images; /classify has the engine to itself."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        for path in ("/classify_batched", "/classify"):
            engine.batches.clear()
            engine.gate.clear()
            first = asyncio.create_task(post(client, path, encoded()))
            await engine.has_begun()
            others = [asyncio.create_task(post(client, path, encoded())) for _ in range(2)]
            await until_waiting(client, 2)
            engine.gate.set()
            await asyncio.gather(first, *others)
            assert engine.batches == ([1, 2] if path == "/classify_batched" else [1, 1, 1])
            while engine.began.acquire(blocking=False):
                pass

    check(settings, ask)


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
        ("/classify", {"files": {"file": encoded(size=(1, 60))}}, 422, "longer than 50 times"),
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


def test_event_loop_answers_while_the_model_runs(settings: Settings) -> None:
    """Health and metrics are answered while an inference is under way."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        engine.gate.clear()
        busy = asyncio.create_task(post(client, "/classify", encoded()))
        await engine.has_begun()
        assert (await client.get("/v2/health/live")).status_code == 200
        assert not busy.done()
        engine.gate.set()
        assert (await busy).status_code == 200

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


def test_health_says_what_is_served(settings: Settings) -> None:
    """/health names status, model, format, queue size and the engine that really serves."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        assert (await client.get("/health")).json() == {
            "status": "healthy",
            "model": "toy_onnx",
            "format": "onnx",
            "queue_size": 0,
            "backend": "brightness",
            "max_batch_size": 2,
        }

    check(settings, ask)


def test_metrics_count_requests_but_no_warm_up(settings: Settings) -> None:
    """Executions in the metrics are those of requests alone."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        assert 'batch_size_distribution_count{model="toy_onnx"} 0.0' in (await client.get("/metrics")).text
        await post(client, "/classify_batch", encoded(), encoded(), field="files")
        text = (await client.get("/metrics")).text
        assert 'batch_size_distribution_sum{model="toy_onnx"} 2.0' in text
        assert 'image_classification_requests_total{model="toy_onnx",status="200"} 1.0' in text

    check(settings, ask)


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


def test_openapi_describes_the_uploads(settings: Settings) -> None:
    """The documentation page shows each route's form field and answer."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        body = paths["/classify"]["post"]["requestBody"]["content"]
        assert set(body) == {"multipart/form-data", "image/*"}
        answer = paths["/classify_batch"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer == {"$ref": "#/components/schemas/BatchClassification"}

    check(settings, ask)
