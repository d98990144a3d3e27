"""An application around an engine that waits for the test, and what is asked of it."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from engine import Floats, Numbers
from fastapi import FastAPI
from fastapi_app.app import create_app
from fastapi_app.settings import Settings
from PIL import Image

CROP = 8
LABELS = [f"class {i}" for i in range(7)]
TIMEOUT_S = 20
Ask = Callable[[httpx.AsyncClient, "BrightnessEngine"], Awaitable[None]]


class BrightnessEngine:
    """Says class 6 of white images and class 0 of black ones; holds while its gate is shut."""

    name = "brightness"
    input_dtype = "float32"
    graph_sizes: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.pinned: list[tuple[int, ...]] = []
        self.sees: Callable[[Numbers], object] = len
        self.failing = False
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)

    def run(self, batch: Numbers) -> Floats:
        self.batches.append(len(batch))
        self.sees(batch)
        self.began.release()
        assert self.gate.wait(TIMEOUT_S)
        if self.failing:
            raise RuntimeError("out of memory")
        logits = np.zeros((len(batch), len(LABELS)), dtype=np.float32)
        # The card's deviation of 0.5 about 0.5 makes black -1 and white 1.
        classes = np.round((batch.mean(axis=(1, 2, 3)) + 1) * 3).astype(int)
        logits[np.arange(len(batch)), classes.clip(0, 6)] = 5
        return logits

    def pin(self, buffer: Numbers) -> None:
        self.pinned.append(buffer.shape)

    def facts(self) -> dict[str, Any]:
        return {"engine": self.name}

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.began.acquire, timeout=TIMEOUT_S)


def encoded(grey: int = 255, image_format: str = "PNG", size: tuple[int, int] = (20, 16)) -> bytes:
    """Return an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(file, image_format)
    return file.getvalue()


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
