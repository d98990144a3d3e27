"""How many images a second does each stack serve, and how long do requests then take?"""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(concurrency="2b", arrivals="closed")
def test_throughput(servebench: Servebench, case: Case) -> None:
    """Twice the server's max batch size in flight: one batch computes while the next one gathers."""
    servebench.measure(case)
