"""Does each stack hold the reference's staged load? Needs ``--serve-load-scale`` or staged arrivals."""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(arrivals="staged")
def test_load_profile(servebench: Servebench, case: Case) -> None:
    """Ramp to 100 requests/s, hold, ramp to 500/s, hold, ramp down; every hold must meet the objective."""
    servebench.measure(case)
