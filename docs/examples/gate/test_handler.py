"""How fast is my handler?"""

import pytest

from pytest_servebench import Case, Servebench


@pytest.mark.servebench(concurrency=1)
def test_handler(servebench: Servebench, case: Case) -> None:
    """One request at a time."""
    servebench.measure(case)
