"""Whole sessions with the real plugin and echo stacks, in a folder of their own."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Imported here, so that sessions inside this process find them there and do not import them each anew;
# scipy alone is a second for every session that compares.
import scipy.stats  # noqa: F401 (see above)

import pytest_servebench.desk
import pytest_servebench.stacks  # noqa: F401 (see above)
import tests.echo_stack  # noqa: F401 (see above)

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
import sys
sys.path.insert(0, {root!r})
import pytest
from pytest_servebench import *
from pytest_servebench.plan import Threshold
from pytest_servebench.results import Judgement, Verdict
from tests.echo_stack import ControlledEcho, Echo, Faults, TellingEcho, furnish

def pytest_configure(config):
    furnish(config)

def pytest_servebench_stacks(config):
    return [{stacks}]

@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_generate_machine_info():
    return {{"node": "made-up", "cpu": {{}}}}  # the real one takes a second
"""

SPEED = """
import pytest

@pytest.mark.servebench(concurrency=2)
def test_speed(servebench, case):
    servebench.measure(case)

def test_plain():
    pass
"""

BRIEF = ("--serve-duration=0.2", "--serve-warmup=0.05", "--serve-batch-size=1")
ONNX = "--serve-format=onnx"
UNUSED = ("cacheprovider", "hypothesispytest", "anyio", "timeout")
"""Plugins that would only cost time here."""
QUIET = (
    *(word for name in UNUSED for word in ("-p", f"no:{name}")),
    *("-W", "error", "-W", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning"),
)
"""Warnings are errors, but for what pytest-benchmark says of a session without benchmarks."""


@dataclass(frozen=True)
class EchoSuite:
    """A suite in a folder, and how it is run."""

    pytester: pytest.Pytester

    def write(self, test: str = SPEED, stacks: str = "Echo()", more: str = "") -> None:
        """Put a conftest that offers ``stacks``, with ``more`` hooks in it, beside a test file."""
        self.pytester.makeconftest(CONFTEST.format(root=str(ROOT), stacks=stacks) + more)
        self.pytester.makepyfile(test_it=test)

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run it in this process, with short loads and warnings as errors."""
        return self.pytester.runpytest_inprocess(*self.command(*arguments))

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """Run it in a process of its own."""
        return self.pytester.runpytest_subprocess(*self.command(*arguments))

    def command(self, *arguments: str) -> tuple[str, ...]:
        """Return the arguments of a run that saves what it records, unless told otherwise."""
        saves = () if any("benchmark" in one for one in arguments) else ("--benchmark-json=out.json",)
        return (*QUIET, *BRIEF, *saves, *arguments)

    @property
    def json(self) -> dict[str, Any]:
        """What was saved."""
        saved: dict[str, Any] = json.loads((self.pytester.path / "out.json").read_text(encoding="utf-8"))
        return saved

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """The saved records by case."""
        return {record["case"]["id"]: record for record in self.json["servebench"]["records"]}

    def limits(self, **limits: float) -> None:
        """Put a thresholds file beside the tests."""
        rows = "\n".join(f"{key} = {limit}" for key, limit in limits.items())
        text = f'[profiles.here]\ndevice = "cpu"\n\n[[limits]]\nprofile = "here"\n{rows}\n'
        (self.pytester.path / "thresholds.toml").write_text(text, encoding="utf-8")


def echo_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite that waits for nobody else's measurements."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    monkeypatch.setattr(tempfile, "tempdir", str(pytester.path))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return EchoSuite(pytester)
