"""What tests of compose share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compose_stand_in import Stand, stand_in


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    """Make a program that stands for Docker Compose."""
    return stand_in(tmp_path / "bin")
