"""The program that computes in process: how much it measures, and what it says of sizes that do not fit."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import raw_baseline
from raw_baseline import ENOUGH_BATCHES, FEWEST_BATCHES, Asked, baselines, measure

from pytest_servebench.raw_baseline import asked_of
from tests.echo_stack import echo_artifact
from tests.made_up import made_up_case

if TYPE_CHECKING:
    from collections.abc import Callable

CARD = {"name": "toy", "resize": 8, "crop": 8, "interpolation": "bilinear", "mean": [0.5], "std": [0.5]}


class Computer:
    """An engine on a clock that only it moves, of which a batch too large has no room."""

    name = "toy engine"
    input_dtype = "float32"

    def __init__(self, image_s: float, most: int = 100) -> None:
        self.now_s = 1000.0
        self.batches: list[int] = []
        self.dtypes: set[str] = set()
        self.pinned: list[int] = []
        self._image_s = image_s
        self._most = most

    def pin(self, buffer: npt.NDArray[np.float32]) -> None:
        self.pinned.append(len(buffer))

    def run(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if len(batch) > self._most:
            raise RuntimeError(f"no room for {len(batch)}")
        assert batch.shape[1:] == (3, 8, 8)
        self.dtypes.add(str(batch.dtype))
        assert batch.std() > 0.5, "not zeros"
        self.batches.append(len(batch))
        self.now_s += self._image_s * len(batch)
        return np.zeros((len(batch), 10), dtype=np.float32)


def measured(batch_s: float, *, enough_s: float, limit_s: float) -> int:
    """Return how many batches of that length are computed."""
    computer = Computer(batch_s)
    batches, passed_s = measure(
        lambda: computer.run(np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)),
        enough_s=enough_s,
        limit_s=limit_s,
        fewest=FEWEST_BATCHES,
        enough=ENOUGH_BATCHES,
        clock_s=lambda: computer.now_s,
    )
    assert passed_s == pytest.approx(batches * batch_s)
    return batches


@pytest.mark.parametrize(
    ("batch_s", "batches"),
    [(0.125, 8), (0.5, 5), (0.75, 4), (2.0, 2), (50.0, FEWEST_BATCHES)],
    ids=["enough time", "enough batches", "the limit", "over the limit", "never one alone"],
)
def test_as_much_as_the_time_allows(batch_s: float, batches: int) -> None:
    """A second and five batches, no more than three seconds, but two batches whatever they take."""
    assert measured(batch_s, enough_s=1.0, limit_s=3.0) == batches


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Return what is asked of a toy model, by this process's own parent."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    return Asked(
        model_path=str(tmp_path / "model.onnx"),
        card_path=str(tmp_path / "card.json"),
        device="cpu",
        threads=2,
        precision="fp32",
        batch_sizes=(1, 4),
        enough_s=1.0,
        limit_s=3.0,
        parent_pid=os.getppid(),
    )


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Computer], Computer]:
    """Put a computer in the place of the engine and of the clock."""

    def put(computer: Computer) -> Computer:
        monkeypatch.setattr(raw_baseline, "load_engine", lambda *_, **__: computer)
        monkeypatch.setattr(time, "perf_counter", lambda: computer.now_s)
        return computer

    return put


def test_each_size_is_warmed_up_and_measured(asked: Asked, computing: Callable[[Computer], Computer]) -> None:
    """Images a second are those of the counted batches; the first ones of a size are not."""
    computer = computing(Computer(image_s=0.0625))
    one, four = baselines(asked)
    assert (one["batch_size"], one["batches"], one["images_per_s"]) == (1, 16, 16.0)
    assert (four["batch_size"], four["batches"], four["images_per_s"]) == (4, 5, 16.0)
    assert one["engine"] == "toy engine"
    assert one["versions"]["numpy"] == np.__version__
    assert computer.batches == [1] * 18 + [4] * 6


@pytest.mark.parametrize(
    ("changed", "together"),
    [
        ({"device": "cuda:0", "batch_sizes": (1, 4)}, [1, 4]),
        ({"device": "cuda:0", "batch_sizes": (1,)}, [1]),
        ({"device": "cuda:0", "batch_sizes": (4, 8)}, [8]),
        ({"device": "cuda:0", "format": "tensorrt"}, [4]),
        ({}, [4]),
    ],
    ids=["both", "single images", "no single image", "compiled", "cpu"],
)
def test_single_images_on_a_gpu_have_the_engine_of_a_server_of_single_images(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], together: list[int]
) -> None:
    """It captures a graph, and a server would be held against less than the model can; memory is pinned."""
    asked = replace(asked, **{"format": "onnx", **changed})
    computer, loaded = Computer(image_s=0.0625), []

    def load(_: Path, **options: object) -> Computer:
        loaded.append((options["max_batch_size"], options["cuda_graphs"]))
        return computer

    monkeypatch.setattr(raw_baseline, "load_engine", load)
    monkeypatch.setattr(time, "perf_counter", lambda: computer.now_s)
    lines = list(baselines(asked))
    assert [line["batch_size"] for line in lines] == list(asked.batch_sizes)
    assert loaded == [(most, "auto") for most in together]
    assert computer.pinned == [max(asked.batch_sizes)] * len(together)


def test_a_size_without_room_leaves_the_others(
    asked: Asked, computing: Callable[[Computer], Computer]
) -> None:
    """What does not fit into memory is absent with the engine's own reason."""
    computing(Computer(image_s=0.0625, most=2))
    one, four = baselines(asked)
    assert one["images_per_s"] == 16.0
    assert four == {"batch_size": 4, "absent": "RuntimeError: no room for 4"}


def test_it_ends_when_nobody_is_left(asked: Asked, computing: Callable[[Computer], Computer]) -> None:
    """A session that was killed leaves no program that computes on."""
    computing(Computer(image_s=0.0625))
    with pytest.raises(SystemExit, match="nobody is left who asked"):
        list(baselines(replace(asked, parent_pid=1 if os.getppid() != 1 else 2)))


def test_it_is_asked_what_it_takes(asked: Asked) -> None:
    """The room and the program agree on what is told."""
    case = made_up_case()
    artifact = echo_artifact(case.deployment.model, case.deployment.format)
    assert asked_of(case, artifact, (1, 8)).keys() == asdict(asked).keys()


def test_a_model_of_pixels_is_given_pixels(asked: Asked, computing: Callable[[Computer], Computer]) -> None:
    """Noise over all that a byte can say, in as many bytes."""
    assert raw_baseline.images_of(asked, "uint8").dtype == np.uint8
    assert raw_baseline.images_of(asked, "uint8").shape == (4, 3, 8, 8)
    computer = computing(Computer(image_s=0.0625))
    computer.input_dtype = "uint8"
    list(baselines(asked))
    assert computer.dtypes == {"uint8"}


@pytest.mark.parametrize(("given", "expected"), [(0, 4), (32, 32)])
def test_the_engine_is_made_for_the_largest_batch_of_its_server(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, given: int, expected: int
) -> None:
    """What a server compiled is kept under its largest batch and in its folder; the images are fewer."""
    options: dict[str, object] = {}
    monkeypatch.setattr(raw_baseline, "load_engine", lambda _, **given: options.update(given))
    whole = replace(asked, max_batch_size=given, cache_path="/kept")
    raw_baseline.engine_of(whole, whole.batch_sizes)
    assert (options["max_batch_size"], options["cache_path"]) == (expected, "/kept")
    assert len(raw_baseline.images_of(whole)) == 4
