"""What rate of requests does each stack hold within the objective? Needs ``--serve-objective``."""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(objective="open", concurrency="2b")
def test_capacity(servebench: Servebench, case: Case) -> None:
    """Requests of many users, who come when they come; the highest rate at which they are content."""
    servebench.capacity(case)
