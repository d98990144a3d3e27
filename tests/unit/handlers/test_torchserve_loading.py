"""What the TorchServe handler loads where: its settings, and the GPU that was asked for."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.recorded_onnxruntime import RecordedOnnxruntime, onnx_file
from tests.unit.handlers.torchserve_guest import CARD, CROP, CountingEngine, FakeContext


def test_settings_reach_the_engine(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings come from the archive's configuration, and the device else from TorchServe."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "labels.json").write_text("[]", encoding="utf-8")
    seen: list[dict[str, Any]] = []

    def load_engine(_: Path, **keywords: Any) -> CountingEngine:
        seen.append(keywords)
        return CountingEngine()

    monkeypatch.setattr(module, "load_engine", load_engine)
    module.ImageClassifier().initialize(FakeContext(tmp_path, {"threads": 3, "device": "cpu"}, gpu_id=1))
    module.ImageClassifier().initialize(FakeContext(tmp_path, {"precision": "fp16"}, gpu_id=1))
    module.ImageClassifier().initialize(FakeContext(tmp_path, {"format": "pytorch"}))
    usual = {
        "device": "cpu",
        "threads": 2,
        "precision": "fp32",
        "format": "",
        "input_dtype": "",
        "image_shape": (3, CROP, CROP),
        "max_batch_size": 4,
        "cuda_graphs": "off",
    }
    assert seen == [
        {**usual, "threads": 3},
        {**usual, "device": "cuda:1", "precision": "fp16"},
        usual,
    ]


@pytest.mark.parametrize(
    ("asked", "gpu"),
    [
        ({"gpu_id": 1}, 1),
        ({"gpu_id": 0}, 0),
        ({"gpu_id": 1, "settings": {"device": "cuda"}}, 0),
        ({"settings": {"device": "cuda:3"}}, 3),
        ({"gpu_id": 0, "settings": {"device": "cuda:1,3"}}, 1),
        ({"gpu_id": 1, "settings": {"device": "cuda:1,3"}}, 3),
        ({}, None),
    ],
)
def test_onnxruntime_is_given_the_gpu_that_was_asked_for(
    module: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    gpu: int | None,
) -> None:
    """Its provider takes GPU 0 unless told, so that every worker would share that one."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "labels.json").write_text("[]", encoding="utf-8")
    recorded = RecordedOnnxruntime("CUDAExecutionProvider")
    monkeypatch.setitem(sys.modules, "onnxruntime", recorded)
    onnx_file(tmp_path / "model.onnx")
    context = FakeContext(tmp_path, **asked)
    context.manifest["model"]["serializedFile"] = "model.onnx"
    module.ImageClassifier().initialize(context)
    *on_gpu, last = recorded.sessions[0].asked
    assert [(one[0], one[1]["device_id"]) for one in on_gpu] == [("CUDAExecutionProvider", gpu)] * (
        gpu is not None
    )
    assert last == "CPUExecutionProvider"


def test_a_worker_without_one_of_several_gpus_does_not_load(module: ModuleType, tmp_path: Path) -> None:
    """Where TorchServe counts none, its workers would all take the same one, or the CPU."""
    context = FakeContext(tmp_path, {"device": "cuda:0,1"})
    with pytest.raises(RuntimeError, match="asked for cuda:0,1, but TorchServe gave this worker no GPU"):
        module.ImageClassifier().initialize(context)


@pytest.mark.parametrize(
    ("meant", "visible"), [(None, "0,1"), ("all", None), ("GPU-a,GPU-b", "GPU-a,GPU-b"), ("", "")]
)
def test_a_worker_sees_the_gpus_that_were_meant(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, meant: str | None, visible: str | None
) -> None:
    """Not the numbers by which the frontend counts; a server that somebody else started is left alone."""
    monkeypatch.setenv(module.VISIBLE, "0,1")
    monkeypatch.delenv(module.MEANT, raising=False)
    if meant is not None:
        monkeypatch.setenv(module.MEANT, meant)
    module._see_the_gpus_meant()
    assert os.environ.get(module.VISIBLE) == visible
