"""How long does a request take that nobody held back? Only with ``--serve-arrivals=poisson:RATE`` or the like."""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(arrivals="open")
def test_open_loop(servebench: Servebench, case: Case) -> None:
    """Requests begin when they are due, whether or not the server has answered the others."""
    servebench.measure(case)
