"""A benchmark of your own: name what you want to know, and with which limits."""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(concurrency=4)
def test_four_users_at_once(servebench: Servebench, case: Case) -> None:
    """Four requests in flight are answered, correctly, within the limits of thresholds.toml."""
    servebench.measure(case)
