"""The batcher's thread, driven by an engine that waits for the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from fastapi_app.backlog import BacklogFullError, BatchingRule, Hold
from fastapi_app.batcher import (
    Batcher,
    BatcherClosedError,
    EngineFailedError,
    Execution,
    Floats,
    Inference,
)

HOUR_NS = 3_600_000_000_000
TIMEOUT_S = 20


def image(value: float, images: int = 1) -> tuple[Floats, ...]:
    """Return a request whose images say who they are."""
    return (np.full((images, 3, 2, 2), value, dtype=np.float32),)


class GatedEngine:
    """Answers each image with its own first pixel, one batch for each `release`."""

    def __init__(self, *, open_gate: bool = False) -> None:
        self.batches: list[list[float]] = []
        self.inputs: list[Floats] = []
        self.threads: set[str] = set()
        self.began = threading.Semaphore(0)
        self._gate = threading.Semaphore(1000 if open_gate else 0)

    def run(self, batch: Floats) -> Floats:
        self.inputs.append(batch)
        values = batch[:, 0, 0, :1].copy()
        self.batches.append(values[:, 0].tolist())
        self.threads.add(threading.current_thread().name)
        self.began.release()
        assert self._gate.acquire(timeout=TIMEOUT_S)
        if np.isnan(values).any():
            raise ValueError("not a number")
        return values

    def release(self, batches: int = 1) -> None:
        self._gate.release(batches)

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.began.acquire, timeout=TIMEOUT_S)


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test that must not hang."""
    asyncio.run(asyncio.wait_for(test, TIMEOUT_S))


@asynccontextmanager
async def batching(
    engine: Callable[[Floats], Floats],
    hold: Hold = "never",
    queue_size: int = 100,
    delay_ns: int = HOUR_NS,
    more: Sequence[Callable[[Floats], Floats]] = (),
) -> AsyncIterator[Batcher]:
    """Run a batcher for up to four images and close it."""
    rule = BatchingRule(max_batch_size=4, max_queue_delay_ns=delay_ns, queue_size=queue_size, hold=hold)
    batcher = Batcher(engine, rule, more=more)
    try:
        yield batcher
    finally:
        await batcher.close()


async def ask(batcher: Batcher, *values: float) -> list[asyncio.Task[Inference]]:
    """Send one request for each value and return when all of them wait."""
    tasks = [asyncio.create_task(batcher.infer(image(value))) for value in values]
    await asyncio.sleep(0)
    return tasks


def test_requests_that_meet_share_an_execution_and_get_their_own_rows() -> None:
    """What arrives while the engine works goes together, and no answer is mixed up."""

    async def test() -> None:
        engine = GatedEngine()
        async with batching(engine.run) as batcher:
            first = await ask(batcher, 1)
            await engine.has_begun()
            others = await ask(batcher, 2, 3, 4)
            engine.release(2)
            answers = await asyncio.gather(*first, *others)
        assert engine.batches == [[1], [2, 3, 4]]
        assert [answer.logits.tolist() for answer in answers] == [[[1]], [[2]], [[3]], [[4]]]
        assert [answer.batch_size for answer in answers] == [1, 3, 3, 3]
        assert all(answer.queue_ns >= 0 and answer.compute_ns > 0 for answer in answers)

    run(test())


def test_engine_runs_in_one_thread_of_its_own() -> None:
    """Inference never runs on the event loop."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        async with batching(engine.run) as batcher:
            for value in (1, 2):
                await batcher.infer(image(value))
        assert engine.threads == {"engine"}

    run(test())


def test_images_of_a_request_stay_together_and_in_order() -> None:
    """A request with several parts is answered with one row per image, in its order."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        async with batching(engine.run) as batcher:
            answer = await batcher.infer((*image(1), *image(2, images=2)))
        assert answer.logits[:, 0].tolist() == [1, 2, 2]
        assert answer.batch_size == 3

    run(test())


def test_groups_of_different_size_get_their_own_rows() -> None:
    """Requests of several images that share an execution are each answered with theirs."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        async with batching(engine.run, "always") as batcher:
            requests = [image(1, images=2), image(2), image(3)]
            answers = await asyncio.gather(*(batcher.infer(parts) for parts in requests))
        assert engine.batches == [[1, 1, 2, 3]]
        assert [answer.logits[:, 0].tolist() for answer in answers] == [[1, 1], [2], [3]]

    run(test())


def test_lone_array_reaches_the_engine_uncopied() -> None:
    """A batch of one request is the request's own array."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        parts = image(1, images=2)
        async with batching(engine.run) as batcher:
            await batcher.infer(parts)
        assert engine.inputs[0] is parts[0]

    run(test())


def test_held_batch_goes_when_it_is_full() -> None:
    """A hold ends with the request that fills the batch, not with the delay."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        async with batching(engine.run, "always") as batcher:
            await asyncio.gather(*await ask(batcher, 1, 2, 3, 4))
        assert engine.batches == [[1, 2, 3, 4]]

    run(test())


def test_held_batch_goes_when_the_delay_is_over() -> None:
    """A request that nobody joins is answered after the delay."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        async with batching(engine.run, "always", delay_ns=1_000_000) as batcher:
            answer = await batcher.infer(image(1))
        assert answer.queue_ns >= 1_000_000

    run(test())


def test_engine_failure_fails_its_batch_alone() -> None:
    """Requests of a failed batch are told why; the next batch is served."""

    async def test() -> None:
        engine = GatedEngine()
        async with batching(engine.run) as batcher:
            first = await ask(batcher, float("nan"))
            await engine.has_begun()
            second = await ask(batcher, 2)
            engine.release(2)
            with pytest.raises(EngineFailedError, match="ValueError: not a number"):
                await first[0]
            assert (await second[0]).logits.tolist() == [[2]]
            assert batcher.alive

    run(test())


def test_engine_that_gives_another_number_of_rows_fails_its_batch() -> None:
    """Rows that cannot be told apart are never handed out."""

    async def test() -> None:
        async with batching(lambda batch: batch[:0, 0, 0]) as batcher:
            with pytest.raises(EngineFailedError, match="0 rows for 1 images"):
                await batcher.infer(image(1))

    run(test())


def test_cancelled_request_that_waits_is_not_computed() -> None:
    """A client that is gone leaves the queue; its neighbours are answered."""

    async def test() -> None:
        engine = GatedEngine()
        async with batching(engine.run) as batcher:
            first = await ask(batcher, 1)
            await engine.has_begun()
            gone, neighbour = await ask(batcher, 2, 3)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            assert batcher.waiting == 1
            engine.release(2)
            assert (await neighbour).logits.tolist() == [[3]]
            await first[0]
        assert engine.batches == [[1], [3]]

    run(test())


def test_cancelled_request_that_computes_harms_nobody() -> None:
    """A client that is gone while its batch computes does not poison the batch."""

    async def test() -> None:
        engine = GatedEngine()
        async with batching(engine.run, "always") as batcher:
            gone, *neighbours = await ask(batcher, 1, 2, 3, 4)
            await engine.has_begun()
            gone.cancel()
            engine.release()
            answers = await asyncio.gather(*neighbours)
            assert [answer.logits.tolist() for answer in answers] == [[[2]], [[3]], [[4]]]
            assert gone.cancelled()

    run(test())


def test_full_queue_refuses() -> None:
    """A request beyond the queue's size is refused at once; those that wait are answered."""

    async def test() -> None:
        engine = GatedEngine()
        async with batching(engine.run, queue_size=1) as batcher:
            first = await ask(batcher, 1)
            await engine.has_begun()
            second = await ask(batcher, 2)
            with pytest.raises(BacklogFullError):
                await batcher.infer(image(3))
            engine.release(2)
            await asyncio.gather(*first, *second)
        assert engine.batches == [[1], [2]]

    run(test())


def test_close_answers_what_waits_and_refuses_the_rest() -> None:
    """A server that stops keeps its word to those who wait, held or not."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        async with batching(engine.run, "always") as batcher:
            held = await ask(batcher, 1, 2)
            await batcher.close()
            answers = await asyncio.gather(*held)
            assert [answer.batch_size for answer in answers] == [2, 2]
            assert not batcher.alive
            with pytest.raises(BatcherClosedError):
                await batcher.infer(image(3))

    run(test())


def test_executions_are_observed_before_the_answer() -> None:
    """Whoever has an answer finds it counted; a failed execution is not counted."""

    async def test() -> None:
        engine = GatedEngine(open_gate=True)
        seen: list[Execution] = []
        async with batching(engine.run, "always") as batcher:
            batcher.observe = seen.append
            await asyncio.gather(*await ask(batcher, 1, 2, 3, 4))
            assert [(one.images, len(one.queue_ns)) for one in seen] == [(4, 4)]
            with pytest.raises(EngineFailedError):
                await batcher.infer(image(float("nan"), images=4))
            assert len(seen) == 1

    run(test())


def two_engines() -> tuple[GatedEngine, GatedEngine]:
    """Return two that tell together when one of them begins: which one it is, is nobody's to choose."""
    first, second = GatedEngine(), GatedEngine()
    second.began = first.began
    return first, second


def test_an_idle_engine_takes_what_waits_while_another_works() -> None:
    """Two engines compute at once, each in a thread of its own, and every request gets its own rows."""

    async def test() -> None:
        first, second = two_engines()
        async with batching(first.run, more=[second.run]) as batcher:
            assert batcher.engines == 2
            one = await ask(batcher, 1)
            await first.has_begun()
            two = await ask(batcher, 2)
            # The first was not let go: another engine takes it, or this waits in vain.
            await first.has_begun()
            waiting = await ask(batcher, 3, 4)
            assert batcher.waiting == 2
            free = first if first.batches == [[2]] else second
            free.release()
            await first.has_begun()
            free.release()
            answers = await asyncio.gather(*waiting)
            assert not one[0].done()
            for engine in (first, second):
                engine.release()
            alone = await asyncio.gather(*one, *two)
        assert free.batches == [[2], [3, 4]]
        assert [answer.logits.tolist() for answer in (*alone, *answers)] == [[[1]], [[2]], [[3]], [[4]]]
        assert (first.threads, second.threads) == ({"engine"}, {"engine-1"})

    run(test())


def test_batches_of_two_engines_never_share_a_buffer() -> None:
    """What one engine still reads is not overwritten by the other's next batch."""

    async def test() -> None:
        first, second = two_engines()
        async with batching(first.run, more=[second.run]) as batcher:
            tasks = await ask(batcher, 0)
            await first.has_begun()
            tasks += await ask(batcher, 0)
            await first.has_begun()
            tasks += await ask(batcher, 1, 2)
            first.release()
            await first.has_begun()
            tasks += await ask(batcher, 3, 4)
            second.release()
            await first.has_begun()
            seen = [engine.inputs[-1][:, 0, 0, 0].tolist() for engine in (first, second)]
            assert seen == [[1, 2], [3, 4]]
            for engine in (first, second):
                engine.release()
            await asyncio.gather(*tasks)

    run(test())


def test_one_engine_can_be_asked_itself() -> None:
    """What is meant for an engine is run by it and by no other, so that each is warmed up."""

    async def test() -> None:
        first, second = GatedEngine(open_gate=True), GatedEngine(open_gate=True)
        async with batching(first.run, more=[second.run]) as batcher:
            for engine, value in ((1, 5), (0, 6), (1, 7)):
                await batcher.infer(image(value), engine=engine)
        assert (first.batches, second.batches) == ([[6]], [[5], [7]])

    run(test())


def test_closing_waits_for_every_engine() -> None:
    """What waits is answered by whichever is idle, and no thread is left."""

    async def test() -> None:
        first, second = GatedEngine(open_gate=True), GatedEngine(open_gate=True)
        async with batching(first.run, hold="always", more=[second.run]) as batcher:
            tasks = await ask(batcher, 1)
        assert [(await task).logits.tolist() for task in tasks] == [[[1]]]
        assert not batcher.alive
        assert not {thread.name for thread in threading.enumerate()} & {"engine", "engine-1"}

    run(test())
