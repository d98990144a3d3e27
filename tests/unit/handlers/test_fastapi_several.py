"""One server with several engines: each loaded for its own device, all behind one queue."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from fastapi_app.app import StartError, create_app
from fastapi_app.settings import Settings
from fastapi_app.several import joined_facts, joined_words

from tests.unit.handlers.brightness import TIMEOUT_S, BrightnessEngine, serving, tensor_body


def test_each_gpu_has_an_engine_that_is_warm_before_anybody_asks(settings: Settings) -> None:
    """The model is loaded once for each device, and each copy has run the smallest and the largest batch."""
    loaded: dict[str, BrightnessEngine] = {}

    def load(of_device: Settings) -> BrightnessEngine:
        loaded[of_device.device] = engine = BrightnessEngine()
        engine.name = f"torch {of_device.device}"
        return engine

    async def test() -> None:
        several = settings.model_copy(update={"device": "cuda:0,2"})
        async with serving(create_app(several, load)) as client:
            assert list(loaded) == ["cuda:0", "cuda:2"]
            for engine in loaded.values():
                assert engine.batches == [1, 1, several.max_batch_size, several.max_batch_size]
            health = (await client.get("/health")).json()
            assert health["backend"] == "torch cuda:0,2"

    asyncio.run(asyncio.wait_for(test(), TIMEOUT_S))


def test_engines_of_one_server_answer_at_the_same_time(settings: Settings) -> None:
    """While one is held, the other serves; both answer the one route."""
    engines: list[BrightnessEngine] = []

    def load(_: Settings) -> BrightnessEngine:
        engines.append(BrightnessEngine())
        return engines[-1]

    async def test() -> None:
        several = settings.model_copy(update={"device": "cuda:0,1", "hold": "never"})
        async with serving(create_app(several, load)) as client:
            path = f"/v2/models/{(await client.get('/health')).json()['model']}/infer"
            began = threading.Semaphore(0)
            for engine in engines:
                engine.began = began
                engine.gate.clear()
            first = asyncio.create_task(client.post(path, json=tensor_body()))
            await engines[0].has_begun()
            second = asyncio.create_task(client.post(path, json=tensor_body(value=-1.0)))
            # The first is held: another engine takes it, or this waits in vain.
            await engines[0].has_begun()
            for engine in engines:
                engine.gate.set()
            answers = [(await task).json()["outputs"][0]["data"] for task in (first, second)]
            assert [int(np.argmax(answer)) for answer in answers] == [6, 0]

    asyncio.run(asyncio.wait_for(test(), TIMEOUT_S))


def test_a_gpu_whose_model_does_not_load_stops_the_server(settings: Settings) -> None:
    """A server that was asked for two GPUs never goes on with one."""

    def load(of_device: Settings) -> BrightnessEngine:
        if of_device.device == "cuda:1":
            raise RuntimeError("asked for cuda:1, but onnxruntime fell back")
        return BrightnessEngine()

    async def test() -> None:
        several = settings.model_copy(update={"device": "cuda:0,1"})
        with pytest.raises(StartError, match="asked for cuda:1"):
            async with serving(create_app(several, load)):
                raise AssertionError

    asyncio.run(asyncio.wait_for(test(), TIMEOUT_S))


def test_facts_of_several_engines_are_those_of_one_server() -> None:
    """What all say once, their devices as one, and what any of them computes on the CPU."""

    def facts(device: str, on_cpu: int, provider: str = "CUDAExecutionProvider") -> dict[str, Any]:
        return {
            "engine": "onnxruntime 1.31.1",
            "provider": provider,
            "device": device,
            "nodes": {"CUDAExecutionProvider": 122, "CPUExecutionProvider": on_cpu},
            "options": {"io_binding": "on"},
        }

    assert joined_facts([facts("cuda:1", 1)]) == facts("cuda:1", 1)
    assert joined_facts([facts("cuda:0", 0), facts("cuda:2", 1)]) == facts("cuda:0,2", 1)
    fallen = joined_facts([facts("cuda:0", 0), facts("cpu", 123, "CPUExecutionProvider")])
    assert fallen["provider"] == "CUDAExecutionProvider and CPUExecutionProvider"
    assert (fallen["device"], fallen["nodes"]["CPUExecutionProvider"]) == ("cuda:0 and cpu", 123)


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        (["torch cpu"], "torch cpu"),
        (["torch cuda:3"], "torch cuda:3"),
        (["torch cuda:0", "torch cuda:3"], "torch cuda:0,3"),
        (["onnxruntime CUDAExecutionProvider"] * 2, "onnxruntime CUDAExecutionProvider"),
        (["torch cuda:0", "torch cpu"], "torch cuda:0 and torch cpu"),
        (["a cuda:0", "b cuda:1"], "a cuda:0 and b cuda:1"),
    ],
)
def test_a_backend_is_told_as_the_stack_tells_it(words: list[str], joined: str) -> None:
    """The name of several engines is that of their device."""
    assert joined_words(words) == joined
