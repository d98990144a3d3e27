"""The application's routes, asked in this process, with an engine that waits for the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from fastapi_app.app import create_app, serving_gpus
from fastapi_app.settings import Settings
from prometheus_client import Metric
from prometheus_client.registry import Collector

from tests.unit.handlers.brightness import (
    CROP,
    TIMEOUT_S,
    BrightnessEngine,
    check,
    encoded,
    post,
    serving,
    tensor_body,
    until_waiting,
)


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
            "served": {"engine": "brightness", "options": {"decoder": "pillow"}},
        }

    check(settings, ask)


def test_a_scrape_that_hangs_holds_nobody_up(settings: Settings) -> None:
    """Metrics are read beside the event loop: requests are answered while a GPU does not."""
    began, gate = threading.Event(), threading.Event()

    class HangingGpu(Collector):
        def collect(self) -> Iterator[Metric]:
            began.set()
            assert gate.wait(TIMEOUT_S)
            return iter(())

        def describe(self) -> Iterator[Metric]:
            return iter(())

    async def run() -> None:
        app = create_app(settings, lambda _: BrightnessEngine())
        async with serving(app) as client:
            app.state.service.metrics.registry.register(HangingGpu())
            scrape = asyncio.create_task(client.get("/metrics"))
            assert await asyncio.to_thread(began.wait, TIMEOUT_S)
            try:
                assert (await post(client, "/classify", encoded())).status_code == 200
                assert not scrape.done()
            finally:
                gate.set()
            assert (await scrape).status_code == 200

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


@pytest.mark.parametrize(
    ("device", "engine_names", "gpus"),
    [
        ("cpu", ["onnxruntime CPUExecutionProvider"], ()),
        ("cuda:1", ["onnxruntime CUDAExecutionProvider"], (1,)),
        ("cuda:1", ["onnxruntime CPUExecutionProvider"], ()),
        ("cuda", ["torch cuda:0"], (0,)),
        ("cuda", ["torch cpu"], ()),
        ("cuda:0,2", ["torch cuda:0", "torch cuda:2"], (0, 2)),
        ("cuda:0,2", ["onnxruntime CPUExecutionProvider", "onnxruntime CUDAExecutionProvider"], (2,)),
    ],
)
def test_only_gpus_that_serve_are_in_the_metrics(
    settings: Settings, device: str, engine_names: list[str], gpus: tuple[int, ...]
) -> None:
    """Where the CPU stands in for a GPU, that GPU's figures would be somebody else's."""
    engines = []
    for name in engine_names:
        engines.append(BrightnessEngine())
        engines[-1].name = name
    assert serving_gpus(settings.model_copy(update={"device": device}), engines) == gpus


def test_metrics_count_requests_but_no_warm_up(settings: Settings) -> None:
    """Executions in the metrics are those of requests alone."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        assert 'batch_size_distribution_count{model="toy_onnx"} 0.0' in (await client.get("/metrics")).text
        await post(client, "/classify_batch", encoded(), encoded(), field="files")
        text = (await client.get("/metrics")).text
        assert 'batch_size_distribution_sum{model="toy_onnx"} 2.0' in text
        assert 'image_classification_requests_total{model="toy_onnx",status="200"} 1.0' in text

    check(settings, ask)


def test_openapi_describes_the_uploads(settings: Settings) -> None:
    """The documentation page shows each route's form field and answer."""

    async def ask(client: httpx.AsyncClient, _: BrightnessEngine) -> None:
        paths = (await client.get("/openapi.json")).json()["paths"]
        body = paths["/classify"]["post"]["requestBody"]["content"]
        assert set(body) == {"multipart/form-data", "image/*"}
        answer = paths["/classify_batch"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer == {"$ref": "#/components/schemas/BatchClassification"}

    check(settings, ask)


def test_graphs_are_captured_before_anybody_is_served(settings: Settings) -> None:
    """Each size runs twice on the thread that will replay it: once to capture, once to see it replayed."""

    async def run() -> list[int]:
        engine = BrightnessEngine()
        engine.graph_sizes = (1, 2)
        async with serving(create_app(settings, lambda _: engine)):
            return engine.batches

    assert asyncio.run(run()) == [1, 1, 2, 2, 1, 1, 2, 2]


def test_the_memory_of_many_batches_is_pinned_once(settings: Settings) -> None:
    """Batches of several requests are put together in one place, which the engine is shown."""

    async def ask(client: httpx.AsyncClient, engine: BrightnessEngine) -> None:
        for _ in range(2):
            assert (
                await post(client, "/classify_batch", encoded(), encoded(), field="files")
            ).status_code == 200
        assert engine.pinned == [(2, 3, CROP, CROP)]

    check(settings, ask)


def test_a_model_of_pixels_is_given_what_preprocessing_normalises(settings: Settings) -> None:
    """Images come as bytes of 0 to 255, tensors as UINT8 alone, and the metadata says so."""

    async def run() -> None:
        engine = BrightnessEngine()
        engine.input_dtype = "uint8"
        seen: list[tuple[str, int]] = []
        engine.sees = lambda batch: seen.append((str(batch.dtype), int(batch.max())))
        async with serving(create_app(settings, lambda _: engine)) as client:
            assert (await post(client, "/classify", encoded(grey=200))).status_code == 200
            assert seen[-1] == ("uint8", 200)
            about = (await client.get("/v2/models/toy_onnx")).json()
            assert about["inputs"][0]["datatype"] == "UINT8"
            refused = await client.post("/v2/models/toy_onnx/infer", json=tensor_body())
            assert refused.status_code == 400
            body = tensor_body(value=7)
            body["inputs"][0]["datatype"] = "UINT8"
            assert (await client.post("/v2/models/toy_onnx/infer", json=body)).status_code == 200
            assert seen[-1] == ("uint8", 7)

    asyncio.run(run())
