"""Computes batch after batch with a model file in this process, no server around it, and says how fast.

A guest, run as a program of its own: it imports nothing of pytest_servebench, and its engine is the one
that the servers in this folder use, so that a server can be held against what its model does alone.

Takes one argument, the JSON of `Asked`, and prints one line of JSON for each batch size as soon as it is
known: ``batch_size``, ``images_per_s``, ``batches``, ``computed_s``, ``engine`` and ``versions``, or
``batch_size`` and ``absent``: why that one could not be computed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from engine import Engine, Numbers, load_engine
from imagenet import Card

ENOUGH_BATCHES = 5
"""Batches that are computed, where the time allows."""
FEWEST_BATCHES = 2
"""Batches that are computed however long they take: one alone tells nothing of the next."""
FIRST_WARM_UP, WARM_UP = 2, 1
"""Batches that are not counted, of the first size and of each other one: libtorch optimises after its first
run, and memory is taken at the first of a size."""
WARM_UP_SHARE = 0.1
"""Of the measured time, that the warm-up lasts at the least: a GPU needs time for its clocks."""
_LIBRARIES = ("onnxruntime", "torch", "numpy")


@dataclass(frozen=True)
class Asked:
    """What is computed, and for how long."""

    model_path: str
    card_path: str
    device: str
    threads: int
    precision: str
    batch_sizes: tuple[int, ...]
    enough_s: float
    """The time after which one size ends, once there are `ENOUGH_BATCHES`."""
    limit_s: float
    """The time after which it ends with the batch that runs, once there are `FEWEST_BATCHES`."""
    parent_pid: int
    """Who asks: without them nobody reads the answer."""
    format: str = ""
    """``tensorrt``: the file is compiled first; else what the file is."""
    input_dtype: str = ""
    """As `engine.EngineOptions` has it, like the next two."""
    max_batch_size: int = 0
    """0: the largest that the engine is made for here."""
    cache_path: str = ""


def measure(
    compute: Callable[[], object],
    *,
    fewest: int,
    enough: int,
    enough_s: float,
    limit_s: float,
    clock_s: Callable[[], float] | None = None,
) -> tuple[int, float]:
    """Return how many batches were computed, and in how many seconds."""
    clock_s = clock_s or time.perf_counter
    begin_s = clock_s()
    batches = 0
    while True:
        compute()
        batches += 1
        passed_s = clock_s() - begin_s
        if batches >= fewest and passed_s >= (enough_s if batches >= enough else limit_s):
            return batches, passed_s


def engine_of(asked: Asked, sizes: Sequence[int]) -> Engine:
    """Return the engine for batches of ``sizes``, under the options of the FastAPI server by default."""
    return load_engine(
        Path(asked.model_path),
        device=asked.device,
        threads=asked.threads,
        precision=asked.precision,
        format="tensorrt" if asked.format == "tensorrt" else "",
        input_dtype=asked.input_dtype,
        image_shape=image_shape(asked),
        max_batch_size=asked.max_batch_size or max(sizes),
        cache_path=asked.cache_path,
        cuda_graphs="auto",
    )


def image_shape(asked: Asked) -> tuple[int, int, int]:
    """Return the shape of one image."""
    side = Card.read(Path(asked.card_path)).crop
    return (3, side, side)


def images_of(asked: Asked, dtype: str = "float32") -> Numbers:
    """Return as many images as the largest batch has, of noise: zeros could be quicker to multiply."""
    random, shape = np.random.default_rng(0), (max(asked.batch_sizes), *image_shape(asked))
    if dtype == "uint8":
        return random.integers(0, 256, shape, dtype=np.uint8)
    return random.standard_normal(shape).astype(np.float32)


def baselines(asked: Asked) -> Iterator[dict[str, Any]]:
    """Yield what was measured of each batch size, ready for JSON."""
    for sizes in sizes_together(asked):
        yield from _of_one_engine(asked, sizes)


def sizes_together(asked: Asked) -> tuple[tuple[int, ...], ...]:
    """Return the batch sizes by the engine that computes them: one engine, and another for single images.

    A server of single images has other options on a GPU (a CUDA graph, and kernels that were searched for),
    and what it is held against must have them, whichever sizes are asked for beside. One that is compiled,
    which takes minutes, is compiled once.
    """
    single = tuple(size for size in asked.batch_sizes if size == 1)
    others = tuple(size for size in asked.batch_sizes if size > 1)
    if asked.device == "cpu" or asked.format != "onnx" or not (single and others):
        return (asked.batch_sizes,)
    return (single, others)


def _of_one_engine(asked: Asked, sizes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    engine = engine_of(asked, sizes)
    images = images_of(asked, engine.input_dtype)
    # As the server's batcher does: a GPU reads it without a copy of the driver's own.
    engine.pin(images)
    warm_up = FIRST_WARM_UP
    for size in sizes:
        yield {"batch_size": size, **_baseline_or_why(engine, images[:size], asked, warm_up)}
        warm_up = WARM_UP


def _baseline_or_why(engine: Engine, batch: Numbers, asked: Asked, warm_up: int) -> dict[str, Any]:
    try:
        return _baseline(engine, batch, asked, warm_up)
    except Exception as error:  # noqa: BLE001 (engines raise what they like; other sizes may fit)
        return {"absent": f"{type(error).__name__}: {error}"}


def _baseline(engine: Engine, batch: Numbers, asked: Asked, warm_up: int) -> dict[str, Any]:
    def compute() -> None:
        if os.getppid() != asked.parent_pid:
            sys.exit("nobody is left who asked")
        engine.run(batch)

    warm_up_s = WARM_UP_SHARE * asked.enough_s
    measure(compute, fewest=warm_up, enough=warm_up, enough_s=warm_up_s, limit_s=warm_up_s)
    batches, computed_s = measure(
        compute,
        fewest=FEWEST_BATCHES,
        enough=ENOUGH_BATCHES,
        enough_s=asked.enough_s,
        limit_s=asked.limit_s,
    )
    return {
        "images_per_s": batches * len(batch) / computed_s,
        "batches": batches,
        "computed_s": computed_s,
        "engine": engine.name,
        "versions": {name: sys.modules[name].__version__ for name in _LIBRARIES if name in sys.modules},
    }


if __name__ == "__main__":
    for line in baselines(Asked(**json.loads(sys.argv[1]))):
        print(json.dumps(line), flush=True)  # noqa: T201 (the answer)
