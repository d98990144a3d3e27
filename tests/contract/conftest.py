"""What the contracts share."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_servebench.plan import Artifact
from tests.every_stack import LOCAL_FORMATS
from tests.tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    """Return tiny models by served name; their folder is named as badly as folders can be."""
    folder = tmp_path_factory.mktemp("models") / "a $HOME of ${its} own"
    return {f"tiny_{each}": build_tiny_model(folder / each, each) for each in LOCAL_FORMATS}
