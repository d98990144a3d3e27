"""How long do requests take that come when they come? Needs ``--serve-arrivals=poisson:RATE`` or the like."""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(arrivals="open")
def test_open_loop(servebench: Servebench, case: Case) -> None:
    """Requests begin when they are due, whether or not the server has answered the others."""
    servebench.measure(case)
