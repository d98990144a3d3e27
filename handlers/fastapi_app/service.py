"""What the routes share: the loaded model, its batcher, and how a request is answered."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from anyio import CapacityLimiter
from engine import Engine, Floats, Numbers
from image_decoder import Decoder
from imagenet import Card
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fastapi_app.backlog import BacklogFullError
from fastapi_app.batcher import Batcher, BatcherClosedError, ClientGoneError, EngineFailedError, Inference
from fastapi_app.body import CLIENT_GONE
from fastapi_app.metrics import Metrics
from fastapi_app.refusal import Refusal
from fastapi_app.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger("uvicorn.error")

__all__ = ["Floats", "Handler", "Numbers", "Service", "answering", "service_of"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Service:
    """Everything a route needs; made by the application's lifespan, gone with it."""

    settings: Settings
    model_name: str
    card: Card
    labels: list[str]
    engines: tuple[Engine, ...]
    """What serves, one for each device; only the batcher's threads run them."""
    batcher: Batcher
    metrics: Metrics
    scrapes: CapacityLimiter
    """One scrape at a time, so that a GPU that does not answer takes one thread and no more."""
    decoder: Decoder
    decoders: ThreadPoolExecutor
    """The threads that decode images."""

    @property
    def input_dtype(self) -> str:
        """The type of the numbers that the model takes, on every device."""
        return self.engines[0].input_dtype

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The model's input without its batch dimension."""
        return (3, self.card.crop, self.card.crop)

    async def infer(self, request: Request, parts: tuple[Numbers, ...], *, alone: bool = False) -> Inference:
        """Return the logits of ``parts``; refuses with 503, 500, or 499 when the client hangs up."""
        gone = asyncio.create_task(_hung_up(request))
        try:
            return await self.batcher.infer(parts, alone=alone, gone=gone)
        except ClientGoneError as error:
            raise Refusal(CLIENT_GONE, "the client hung up") from error
        except BacklogFullError as error:
            reason = f"{self.settings.queue_size} requests already wait"
            raise Refusal(503, reason, {"Retry-After": "1"}) from error
        except BatcherClosedError as error:
            raise Refusal(503, "the server is stopping", {"Retry-After": "1"}) from error
        except EngineFailedError as error:
            raise Refusal(500, f"the model failed: {error}") from error
        finally:
            gone.cancel()


async def _hung_up(request: Request) -> None:
    """Return when the client is gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def service_of(request: Request) -> Service:
    """Return the application's service."""
    service: Service = request.app.state.service
    return service


def answering(render: Callable[[Refusal], Response]) -> Callable[[Handler], Handler]:
    """Turn whatever stops an inference route into a response by ``render``, and count the request."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def answer(request: Request) -> Response:
            began_s = time.perf_counter()
            try:
                response = await handler(request)
            except Refusal as refusal:
                response = render(refusal)
            except HTTPException as error:
                response = render(Refusal(error.status_code, str(error.detail)))
            except Exception:
                logger.exception("a request failed in a way nobody foresaw")
                response = render(Refusal(500, "internal error; the server's log tells more"))
            service_of(request).metrics.answered(response.status_code, time.perf_counter() - began_s)
            return response

        return answer

    return decorate
