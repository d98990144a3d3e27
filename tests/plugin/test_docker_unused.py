"""What containers need costs nothing where none are asked for."""

from __future__ import annotations

import pytest

from tests.plugin.echo_suite import ONNX, echo_suite

LOOKS = """
import sys

def pytest_unconfigure(config):
    print("docker imported:", "docker" in sys.modules)
"""


def test_without_an_engine_its_sdk_is_not_imported(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of local processes looks for no containers, at its begin or its end."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/nobody.sock")
    suite = echo_suite(pytester, monkeypatch)
    suite.write(more=LOOKS)
    result = suite.run_apart("--stack=echo", ONNX, "-s", "--serve-launcher=process")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["docker imported: False"])
    result.stdout.no_fnmatch_line("*leftovers*")
