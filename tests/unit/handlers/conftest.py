"""Imports the guests that tests here talk to, without leaving their folder on the path.

``handlers/`` holds folders named after servers; on the path for good they would shadow
packages of the same name for whatever is imported later.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from pytest_servebench.folders.shipped import shipped
from tests.recorded_onnxruntime import onnx_file
from tests.unit.handlers.torchserve_guest import (
    CARD,
    CLASSES,
    CountingEngine,
    FakeContext,
    Served,
    handler_module,
)

if TYPE_CHECKING:
    from fastapi_app.settings import Settings

sys.path.insert(0, str(shipped("handlers")))
try:
    for _guest in ("app", "backlog", "batcher", "body", "metrics", "settings", "wire"):
        importlib.import_module(f"fastapi_app.{_guest}")
    for _guest in ("onnx_engine", "raw_baseline", "torch_engine", "torchserve_request"):
        importlib.import_module(_guest)
finally:
    sys.path.pop(0)


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """Return an ONNX model of float32 weights."""
    return onnx_file(tmp_path / "model.onnx")


@pytest.fixture
def a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer for the driver and TensorRT's libraries, and keep the environment as it was."""
    import onnx_providers

    monkeypatch.setattr(onnx_providers, "gpu_identity", lambda index: f"NVIDIA A{index + 4} sm86")
    monkeypatch.setattr(onnx_providers, "_load_tensorrt", lambda: "101600")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    """Import the handler's module."""
    with handler_module() as loaded:
        yield loaded


@pytest.fixture
def served(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Return a handler on a toy model."""
    (tmp_path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (tmp_path / "labels.json").write_text(json.dumps([f"name {i}" for i in range(CLASSES)]), encoding="utf-8")
    engine = CountingEngine()
    monkeypatch.setattr(module, "load_engine", lambda *_, **__: engine)
    return Served(module, FakeContext(tmp_path), engine)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings for a small server: two images a batch, two requests waiting."""
    from fastapi_app.settings import Settings

    from tests.unit.handlers.brightness import CROP, LABELS

    (tmp_path / "model.onnx").touch()
    card = {"resize": CROP, "crop": CROP, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "card.json").write_text(json.dumps({"name": "toy", **card}))
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    return Settings(
        model_path=tmp_path / "model.onnx",
        max_batch_size=2,
        queue_size=2,
        hold="never",
        max_body_bytes=20_000,
    )
