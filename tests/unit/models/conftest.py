"""What the tests of this room share: one cache folder, exported to once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.models.export import artifact
from pytest_servebench.plan import Artifact, ModelFormat


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder of this test session."""
    return tmp_path_factory.mktemp("servebench cache")


@pytest.fixture(scope="session")
def resnet50(model_cache: Path) -> Artifact:
    """Return ResNet50 with seeded weights as ONNX."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SERVEBENCH_RESNET50_WEIGHTS", raising=False)
        patch.setenv("TORCH_HOME", str(model_cache / "no torch home"))
        return artifact("resnet50", ModelFormat.ONNX, model_cache)


@pytest.fixture(scope="session")
def efficientnet(model_cache: Path) -> Artifact:
    """Return EfficientNet-Lite0 with its ImageNet weights as ONNX."""
    return artifact("efficientnet_lite0", ModelFormat.ONNX, model_cache)
