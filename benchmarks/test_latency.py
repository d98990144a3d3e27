"""How long does one request take when nothing else is in flight?"""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(concurrency=1, arrivals="closed", items_per_request=(1, "b"))
def test_latency(servebench: Servebench, case: Case) -> None:
    """One request in flight; from one image in it to as many as the server takes at once."""
    servebench.measure(case)
