"""What is shown while something takes long."""

from __future__ import annotations

import pytest

from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

MAKES_AN_IMAGE = """
import pytest_servebench.session as session
from pytest_servebench.launchers.process import ProcessLauncher

class Maker(ProcessLauncher):
    making = staticmethod(lambda *_: None)

    def start(self, *launch):
        for line in ("it is built", "Step 1/2", "Step 2/2"):
            self.making("servebench/echo:1", line)
        return super().start(*launch)

def launcher_of(self, stack):
    launcher = Maker()
    launcher.making = self._making
    return launcher

session.BenchSession._launcher, before = launcher_of, session.BenchSession._launcher

def pytest_unconfigure():
    session.BenchSession._launcher = before
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


@pytest.mark.parametrize("more", [(), ("-q",), ("-n", "1")], ids=" ".join)
def test_a_log_says_once_that_an_image_is_made(suite: EchoSuite, more: tuple[str, ...]) -> None:
    """Where nobody watches, minutes without a word have their reason in the log; -q and workers do not."""
    suite.write(more=MAKES_AN_IMAGE)
    result = (suite.run_apart if "-n" in more else suite.run)("--stack=echo", ONNX, *more)
    result.assert_outcomes(passed=2)
    said = [line for line in result.outlines if "image servebench/echo:1" in line]
    assert said == ([] if more else ["servebench image servebench/echo:1: it is built"])
