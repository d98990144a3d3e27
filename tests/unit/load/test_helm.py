"""What decides about a load is at hand before the first send."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = (
    "import sys; from pytest_servebench.load.helm import LocalHelm; from pytest_servebench.plan import Load; "
    "LocalHelm(Load({wish})); print('scipy.stats' in sys.modules, 'scipy.special' in sys.modules)"
)


@pytest.mark.parametrize(
    ("wish", "said"),
    [("", "False False"), ("steady=True", "True True"), ("precision=0.05", "True True")],
)
def test_no_library_is_imported_between_two_sends(wish: str, said: str) -> None:
    """What judges a load is imported before it begins, and not at all where nothing is judged."""
    command = [sys.executable, "-c", SCRIPT.format(wish=wish)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
