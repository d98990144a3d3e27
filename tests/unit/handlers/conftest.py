"""Imports the guests that tests here talk to, without leaving their folder on the path.

``handlers/`` holds folders named after servers; on the path for good they would shadow
packages of the same name for whatever is imported later.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_servebench.shipped import shipped

if TYPE_CHECKING:
    from fastapi_app.settings import Settings

sys.path.insert(0, str(shipped("handlers")))
try:
    for _guest in ("app", "backlog", "batcher", "body", "metrics", "settings", "wire"):
        importlib.import_module(f"fastapi_app.{_guest}")
    importlib.import_module("raw_baseline")
finally:
    sys.path.pop(0)


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
