"""Tests that need a Docker engine, without one: skipped with the reason; failed where one is required."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine import REQUIRED

NEEDS_ONE = """
from tests.engine import the_engine

def test_of_containers():
    with the_engine() as client:
        client.ping()
"""


@pytest.fixture
def nowhere(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point every client at a socket where nobody listens, and return its address."""
    address = f"unix://{pytester.path / 'nobody.sock'}"
    monkeypatch.setenv("DOCKER_HOST", address)
    monkeypatch.delenv(REQUIRED, raising=False)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return address


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    """Run a test that needs an engine; what becomes of it is in the summary."""
    pytester.makepyfile(NEEDS_ONE)
    return pytester.runpytest_inprocess("-ra", "-p", "no:servebench", "-p", "no:cacheprovider")


def test_without_an_engine_they_are_skipped_and_say_so(pytester: pytest.Pytester, nowhere: str) -> None:
    """A newcomer without Docker sees no failure, and what was not tested."""
    result = run(pytester)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED*no Docker engine can be used: {nowhere}: No such file*"])


def test_where_an_engine_is_required_they_fail(
    pytester: pytest.Pytester, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI started an engine, so a skipped test would be one that nobody runs."""
    monkeypatch.setenv(REQUIRED, "1")
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{REQUIRED} is set: no Docker engine can be used: {nowhere}: *"])
