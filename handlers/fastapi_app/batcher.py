"""Dynamic batching: one thread runs the engine, requests wait for it together.

The rule, decided in `backlog`:

- One execution at a time. Requests go in order of arrival, a request's images stay
  together, and one execution holds at most ``max_batch_size`` images.
- Whenever the engine is idle and something waits, the head of the queue runs at once if
  its batch is full, or if the next request does not fit into it.
- Otherwise it may be held so that others join, but never beyond ``max_queue_delay`` after
  its oldest request arrived. The meaning is that of Triton's
  ``max_queue_delay_microseconds``: the delay bounds the holding, not the queueing, and a
  request that waited longer than this for a busy engine is not held at all.
- ``hold`` says when a batch that is not full is held:
  ``expected`` (default)  only while it is smaller than the number of images that were in
                          the server at once since a batch last ran for its age. A lone
                          client therefore never waits, and n clients in a closed loop
                          meet in batches of n. A hold in vain lowers the expectation.
  ``always``              as Triton does: a lone client waits the whole delay.
  ``never``               the engine takes what is there as soon as it is idle.

With more than ``max_batch_size`` images in flight the queue fills while the engine works,
so batches are full without any holding.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastapi_app.backlog import Backlog, BacklogFullError, BatchingRule, Waiting

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats], Floats]

logger = logging.getLogger("uvicorn.error")


class BatcherClosedError(Exception):
    """The server is stopping and takes no more requests."""


class ClientGoneError(Exception):
    """Nobody is left to be answered."""


class EngineFailedError(Exception):
    """The engine raised while it ran this request's batch; the text is its reason."""


@dataclass(frozen=True, eq=False)
class Inference:
    """What the engine said of one request, and what it cost."""

    logits: Floats
    """[images, classes], in the order of the request's images."""
    batch_size: int
    """Images in the execution that answered."""
    queue_ns: int
    compute_ns: int


@dataclass(frozen=True)
class Execution:
    """One run of the engine, for the metrics."""

    images: int
    queue_ns: tuple[int, ...]
    """How long each of its requests waited."""
    compute_ns: int


@dataclass(frozen=True, eq=False)
class _Job:
    parts: tuple[Floats, ...]
    """Arrays [k, 3, height, width] that make up the request."""
    answer: asyncio.Future[Inference]


def _unobserved(_: Execution) -> None: ...


class Batcher:
    """Owns the engine's thread; everything public is called on the event loop.

    ``observe`` sees each successful execution, on the event loop, before the callers of
    its requests go on.
    """

    def __init__(
        self, run: Run, rule: BatchingRule, *, clock_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.observe: Callable[[Execution], None] = _unobserved
        self._run = run
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        # Guards the backlog and `_closing`, which both threads change.
        self._changed = threading.Condition()
        self._backlog: Backlog[_Job] = Backlog(rule)
        self._closing = False
        self._buffer: Floats | None = None
        # Daemon: an engine that hangs must not keep a stopped server alive.
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return self._thread.is_alive() and not self._closing

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._backlog)

    async def infer(
        self,
        parts: tuple[Floats, ...],
        *,
        alone: bool = False,
        gone: asyncio.Future[None] | None = None,
    ) -> Inference:
        """Return the logits of one request's images.

        ``alone`` gives it an execution of its own; ``gone`` is done when nobody wants the
        answer any more. Raises `BacklogFullError`, `BatcherClosedError`,
        `EngineFailedError` and `ClientGoneError`. When the client is gone or the caller
        is cancelled, a request that still waits is dropped, and one that computes leaves
        its neighbours as they are.
        """
        job = _Job(parts, self._loop.create_future())
        images = sum(len(part) for part in parts)
        request = Waiting(job, images, self._clock_ns(), alone=alone)
        with self._changed:
            if not self.alive:
                raise BatcherClosedError
            self._backlog.add(request)
            self._changed.notify()
        try:
            awaited: set[asyncio.Future[Any]] = {job.answer} if gone is None else {job.answer, gone}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if job.answer.done():
                return job.answer.result()
            raise ClientGoneError
        finally:
            if job.answer.cancel():
                with self._changed:
                    self._backlog.forget(request)

    async def close(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await self._loop.run_in_executor(None, self._thread.join)

    def _work(self) -> None:
        while batch := self._next():
            self._execute(batch)

    def _next(self) -> list[Waiting[_Job]]:
        """Wait until the rule lets a batch go and return it; empty when closed and drained."""
        with self._changed:
            self._backlog.computing = 0
            while True:
                now_ns = self._clock_ns()
                until_ns = self._backlog.hold_until_ns(now_ns, draining=self._closing)
                if until_ns == now_ns:
                    batch = self._backlog.take(now_ns)
                    self._backlog.computing = sum(request.images for request in batch)
                    return batch
                if until_ns is None and self._closing:
                    return []
                self._changed.wait(None if until_ns is None else (until_ns - now_ns) / 1e9)

    def _execute(self, batch: list[Waiting[_Job]]) -> None:
        began_ns = self._clock_ns()
        images = sum(request.images for request in batch)
        try:
            logits = self._run(self._gather(batch, images))
            if len(logits) != images:
                raise RuntimeError(f"the engine gave {len(logits)} rows for {images} images")  # noqa: TRY301 (one path for all failures)
        except Exception as error:
            logger.exception("the engine failed on a batch of %d images", images)
            self._on_loop(_fail, batch, EngineFailedError(f"{type(error).__name__}: {error}"))
            return
        ended_ns = self._clock_ns()
        self._on_loop(self._deliver, batch, logits, began_ns, ended_ns - began_ns)

    def _gather(self, batch: list[Waiting[_Job]], images: int) -> Floats:
        """Return the batch as one array; a lone part is passed on as it is, without a copy."""
        parts = [part for request in batch for part in request.ticket.parts]
        if len(parts) == 1:
            return parts[0]
        if self._buffer is None or self._buffer.shape[1:] != parts[0].shape[1:]:
            rows = self._backlog.rule.max_batch_size
            self._buffer = np.empty((rows, *parts[0].shape[1:]), dtype=np.float32)
        return np.concatenate(parts, out=self._buffer[:images])

    def _deliver(self, batch: list[Waiting[_Job]], logits: Floats, began_ns: int, compute_ns: int) -> None:
        queue_ns = tuple(began_ns - request.arrived_ns for request in batch)
        row = 0
        for request, waited_ns in zip(batch, queue_ns, strict=True):
            mine = logits[row : row + request.images]
            row += request.images
            if not request.ticket.answer.done():
                request.ticket.answer.set_result(Inference(mine, len(logits), waited_ns, compute_ns))
        # Whoever awaits an answer runs after this callback, so its metrics are there before it.
        self.observe(Execution(len(logits), queue_ns, compute_ns))

    def _on_loop(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            # The loop is closed: nobody is left to be answered.
            logger.warning("the server stopped before a batch was answered")


def _fail(batch: list[Waiting[_Job]], error: EngineFailedError) -> None:
    for request in batch:
        if not request.ticket.answer.done():
            request.ticket.answer.set_exception(error)


__all__ = [
    "BacklogFullError",
    "Batcher",
    "BatcherClosedError",
    "BatchingRule",
    "ClientGoneError",
    "EngineFailedError",
    "Execution",
    "Inference",
]
