"""The application: its settings, its lifespan, its routes.

Run it with ``uvicorn fastapi_app.app:create_app --factory``; see `settings` for the environment.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import numpy as np
from engine import Engine, load_engine
from fastapi import FastAPI
from image_decoder import decoder_for, with_decoder
from imagenet import Card, read_labels
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fastapi_app import classify, open_inference
from fastapi_app.batcher import Batcher, BatchingRule
from fastapi_app.metrics import Metrics
from fastapi_app.refusal import Refusal
from fastapi_app.service import Service, service_of
from fastapi_app.settings import Settings, SettingsError, read_settings
from fastapi_app.several import joined_facts, joined_words

Load = Callable[[Settings], Engine]


class StartError(Exception):
    """The model cannot be served; the text is for the server's operator."""


def load_model(settings: Settings) -> Engine:
    """Return the engine that the settings describe."""
    crop = Card.read(settings.card_path).crop
    return load_engine(
        settings.model_path,
        device=settings.device,
        threads=settings.threads,
        precision=settings.precision,
        format="tensorrt" if settings.format == "tensorrt" else "",
        input_dtype=settings.input_dtype,
        image_shape=(3, crop, crop),
        max_batch_size=settings.max_batch_size,
        provider_options=settings.provider_options,
        graph_optimization=settings.graph_optimization,
        cpu_fallback=settings.cpu_fallback,
        io_binding=settings.io_binding,
        cuda_graphs=settings.cuda_graphs,
        channels_last=settings.cuda_channels_last,
        tensorrt_workspace_bytes=settings.tensorrt_workspace_bytes,
        cache_path=settings.engine_cache_path,
    )


def create_app(settings: Settings | None = None, load: Load = load_model) -> FastAPI:
    """Return the application; without ``settings``, from the environment or exit with what is wrong."""
    if settings is None:
        try:
            settings = read_settings()
        except SettingsError as error:
            sys.exit(str(error))
    chosen = settings

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = await start(chosen, load)
        app.state.service = service
        try:
            yield
        finally:
            await service.batcher.close()
            service.decoders.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(title="Image classification", lifespan=lifespan)
    # The tensor route comes first: routes are tried in order.
    app.router.routes[:0] = open_inference.ROUTES
    app.include_router(classify.router)
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics)
    app.add_exception_handler(HTTPException, render_http_error)
    return app


async def start(settings: Settings, load: Load) -> Service:
    """Return a service whose model is loaded, has run, and fits its card and labels."""
    try:
        card, labels = Card.read(settings.card_path), read_labels(settings.labels_path)
        decoder = await anyio.to_thread.run_sync(decoder_for, settings.decoder, settings.devices[0])
        # One after another: what the first one builds and keeps on disk, the others find there.
        each = [await anyio.to_thread.run_sync(load, of_device) for of_device in by_device(settings)]
    except Exception as error:
        raise StartError(f"cannot load {settings.model_path}: {error}") from error
    batcher = Batcher(
        each[0].run,
        batching_rule(settings),
        more=[one.run for one in each[1:]],
        pins=[one.pin for one in each],
    )
    try:
        await warm_up(batcher, each, (3, card.crop, card.crop), settings.max_batch_size, len(labels))
    except Exception as error:
        await batcher.close()
        raise StartError(f"{settings.model_path} does not serve: {error}") from error
    name = settings.model_name or f"{card.name}_{settings.format}"
    metrics = Metrics(name, waiting=lambda: batcher.waiting, gpu_indexes=serving_gpus(settings, each))
    batcher.observe = metrics.executed
    return Service(
        settings=settings,
        model_name=name,
        card=card,
        labels=labels,
        engines=tuple(each),
        batcher=batcher,
        metrics=metrics,
        scrapes=anyio.CapacityLimiter(1),
        decoder=decoder,
        decoders=ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode"),
    )


def by_device(settings: Settings) -> tuple[Settings, ...]:
    """Return the settings of each engine: those of one device."""
    return tuple(settings.model_copy(update={"device": device}) for device in settings.devices)


def serving_gpus(settings: Settings, engines: Sequence[Engine]) -> tuple[int, ...]:
    """Return the GPUs that compute, as CUDA counts; none where the CPU does, asked for or standing in."""
    pairs = zip(by_device(settings), engines, strict=True)
    indexes = (None if "cpu" in engine.name.lower() else one.device_index for one, engine in pairs)
    return tuple(index for index in indexes if index is not None)


def batching_rule(settings: Settings) -> BatchingRule:
    """Return the settings as the batcher's rule."""
    return BatchingRule(
        max_batch_size=settings.max_batch_size,
        max_queue_delay_ns=round(settings.max_queue_delay_ms * 1e6),
        queue_size=settings.queue_size,
        hold=settings.hold,
    )


async def warm_up(
    batcher: Batcher,
    engines: Sequence[Engine],
    shape: tuple[int, ...],
    max_batch_size: int,
    classes: int,
) -> None:
    """Run the smallest and the largest batch on each engine, twice: libtorch optimises after its first runs.

    Ready then means ready: nobody's first request pays, and a model that does not fit
    its labels is found before anybody asks. Sizes with a CUDA graph are captured here, on the thread
    that will replay them, and replayed once.
    """
    for number, engine in enumerate(engines):
        captured = (size for size in engine.graph_sizes for _ in range(2))
        for images in (1, 1, max_batch_size, max_batch_size, *captured):
            zeros = np.zeros((images, *shape), dtype=engine.input_dtype)
            inference = await batcher.infer((zeros,), engine=number)
            if inference.logits.shape != (images, classes):
                seen = list(inference.logits.shape)
                raise StartError(
                    f"it gives {seen} for {images} image(s); its labels say [{images}, {classes}]"
                )


async def health(request: Request) -> dict[str, Any]:
    """Say what is served and how much waits."""
    service = service_of(request)
    return {
        "status": "healthy" if service.batcher.alive else "stopping",
        "model": service.model_name,
        "format": service.settings.format,
        "queue_size": service.batcher.waiting,
        "backend": joined_words([engine.name for engine in service.engines]),
        "max_batch_size": service.settings.max_batch_size,
        "served": with_decoder(joined_facts([engine.facts() for engine in service.engines]), service.decoder),
    }


async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus, read in a thread: a GPU takes its time."""
    service = service_of(request)
    text = await anyio.to_thread.run_sync(service.metrics.text, limiter=service.scrapes)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def render_http_error(request: Request, error: Exception) -> Response:
    """Render what no route took (404, 405) as the protocol asked for would."""
    assert isinstance(error, HTTPException)
    refusal = Refusal(error.status_code, str(error.detail), error.headers)
    is_open_inference = request.url.path.startswith("/v2")
    return open_inference.render(refusal) if is_open_inference else classify.render(refusal)
