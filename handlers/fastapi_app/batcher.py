"""Dynamic batching: one thread runs each engine, requests wait for them together.

The rule, decided in `backlog`:

- One execution at a time on each engine: mostly there is one, of a server over several GPUs one
  for each, and whichever is idle takes the head of the queue. Requests go in order of arrival, a
  request's images stay together, and one execution holds at most ``max_batch_size`` images.
- Whenever an engine is idle and something waits, the head of the queue runs at once if
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
                          Several engines share: each batch is held for its part alone.
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
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from engine import Floats, Numbers

from fastapi_app.backlog import Backlog, BacklogFullError, BatchingRule, Waiting

Run = Callable[[Numbers], Floats]
Pin = Callable[[Numbers], None]

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
    parts: tuple[Numbers, ...]
    """Arrays [k, 3, height, width] that make up the request."""
    answer: asyncio.Future[Inference]


@dataclass(eq=False)
class _Engine:
    """One engine, and what its thread has in hand."""

    run: Run
    pin: Pin
    meant: deque[Waiting[_Job]] = field(default_factory=deque)
    """Requests that no other engine may take."""
    computing: int = 0
    """Images in its execution."""
    buffer: Numbers | None = None


def _unobserved(_: Execution) -> None: ...


def _unpinned(_: Numbers) -> None: ...


class Batcher:
    """Owns the engines' threads; everything public is called on the event loop.

    ``observe`` sees each successful execution, on the event loop, before the callers of
    its requests go on. ``more`` are engines beside the first, each of them with the same model. ``pins``, one
    for each engine where they are given, take the memory in which its batches are put together, once.
    """

    def __init__(
        self,
        run: Run,
        rule: BatchingRule,
        *,
        more: Sequence[Run] = (),
        pins: Sequence[Pin] = (),
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.observe: Callable[[Execution], None] = _unobserved
        self._clock_ns = clock_ns
        self._loop = asyncio.get_running_loop()
        # Guards the backlog, what is meant for one engine, and `_closing`, which all threads change.
        self._changed = threading.Condition()
        self._backlog: Backlog[_Job] = Backlog(replace(rule, engines=1 + len(more)))
        self._closing = False
        runs = (run, *more)
        self._engines = [_Engine(*each) for each in zip(runs, pins or [_unpinned] * len(runs), strict=True)]
        # Daemon: an engine that hangs must not keep a stopped server alive.
        self._threads = [
            threading.Thread(
                target=self._work, args=(each,), name=f"engine-{i}" if i else "engine", daemon=True
            )
            for i, each in enumerate(self._engines)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes requests."""
        return all(thread.is_alive() for thread in self._threads) and not self._closing

    @property
    def engines(self) -> int:
        """How many run."""
        return len(self._engines)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._backlog)

    async def infer(
        self,
        parts: tuple[Numbers, ...],
        *,
        alone: bool = False,
        engine: int | None = None,
        gone: asyncio.Future[None] | None = None,
    ) -> Inference:
        """Return the logits of one request's images.

        ``alone`` gives it an execution of its own, ``engine`` one of that engine before all that
        wait; ``gone`` is done when nobody wants the
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
            if engine is None:
                self._backlog.add(request)
                self._changed.notify()
            else:
                self._engines[engine].meant.append(request)
                self._changed.notify_all()
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
        """Answer what waits, then end the threads."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            await self._loop.run_in_executor(None, thread.join)

    def _work(self, engine: _Engine) -> None:
        while batch := self._next(engine):
            self._execute(engine, batch)

    def _next(self, engine: _Engine) -> list[Waiting[_Job]]:
        """Wait until the rule lets a batch go and return it; empty when closed and drained."""
        with self._changed:
            self._backlog.computing -= engine.computing
            engine.computing = 0
            while True:
                if engine.meant:
                    return [engine.meant.popleft()]
                now_ns = self._clock_ns()
                until_ns = self._backlog.hold_until_ns(now_ns, draining=self._closing)
                if until_ns == now_ns:
                    batch = self._backlog.take(now_ns)
                    engine.computing = sum(request.images for request in batch)
                    self._backlog.computing += engine.computing
                    if len(self._backlog):
                        self._changed.notify()  # whoever else is idle may go on with what is left
                    return batch
                if until_ns is None and self._closing:
                    return []
                self._changed.wait(None if until_ns is None else (until_ns - now_ns) / 1e9)

    def _execute(self, engine: _Engine, batch: list[Waiting[_Job]]) -> None:
        began_ns = self._clock_ns()
        images = sum(request.images for request in batch)
        try:
            logits = engine.run(self._gather(engine, batch, images))
            if len(logits) != images:
                raise RuntimeError(f"the engine gave {len(logits)} rows for {images} images")  # noqa: TRY301 (one path for all failures)
        except Exception as error:
            logger.exception("the engine failed on a batch of %d images", images)
            self._on_loop(_fail, batch, EngineFailedError(f"{type(error).__name__}: {error}"))
            return
        ended_ns = self._clock_ns()
        self._on_loop(self._deliver, batch, logits, began_ns, ended_ns - began_ns)

    def _gather(self, engine: _Engine, batch: list[Waiting[_Job]], images: int) -> Numbers:
        """Return the batch as one array; a lone part is passed on as it is, without a copy."""
        parts = [part for request in batch for part in request.ticket.parts]
        if len(parts) == 1:
            return parts[0]
        if engine.buffer is None:
            # One for good, since it may be pinned: a server's images are all of one shape and type.
            rows = self._backlog.rule.max_batch_size
            engine.buffer = np.empty((rows, *parts[0].shape[1:]), dtype=parts[0].dtype)
            engine.pin(engine.buffer)
        return np.concatenate(parts, out=engine.buffer[:images])

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
    "Floats",
    "Inference",
]
