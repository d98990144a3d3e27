"""How all tests are run: in two halves that leave none out, with one word at the end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.__main__ import ONLY_COMPUTE, commands, verdict
from tests.doc_blocks import ROOT

FAILED, NOTHING = int(pytest.ExitCode.TESTS_FAILED), int(pytest.ExitCode.NO_TESTS_COLLECTED)


def test_what_one_half_names_the_other_leaves_out() -> None:
    """No test runs twice, and none is in neither half: each path is there and ignored by the second."""
    first, second = commands(["-x"])
    for path in ONLY_COMPUTE:
        assert (ROOT / path).exists(), path
        assert path in first
        assert f"--ignore={path}" in second
    assert "tests" in second
    assert sum(word.startswith("--ignore") for word in second) == len(ONLY_COMPUTE)
    assert first[-1] == second[-1] == "-x"


def test_only_what_computes_runs_beside_others() -> None:
    """Loads and servers are timed, so nothing else may run meanwhile."""
    first, second = commands([])
    assert "-n" in first
    assert "-n" not in second
    assert not [path for path in ONLY_COMPUTE if path.startswith(("tests/live", "tests/contract"))]


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        ([0, 0], 0),
        ([0, FAILED], FAILED),
        ([FAILED, 0], FAILED),
        ([FAILED, NOTHING], FAILED),
        ([NOTHING, 0], 0),
        ([NOTHING, NOTHING], NOTHING),
        ([-9, 0], -9),
        ([int(pytest.ExitCode.INTERRUPTED)], int(pytest.ExitCode.INTERRUPTED)),
    ],
    ids=str,
)
def test_the_word_at_the_end(ended: Sequence[int], code: int) -> None:
    """Red when either half is; a selection that lies in one half is not red for the other's emptiness."""
    assert verdict(ended) == code
