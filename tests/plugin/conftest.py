"""Fixtures of the plugin's own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import numpy as np  # noqa: F401 (sessions in this process forget what they import, and numpy may not come twice)
import pytest

from tests.plugin.recorded_suite import CONFTEST, PLUGINS, PYTHONPATH, ROOT, SUITE, FinishedRun, saved


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions inside this one are nobody's workers, though it may be one: pytest-benchmark looks at this.

    Nor has their output the width of the terminal that this one was started from, which xdist hands on.
    """
    for told_by_xdist in ("PYTEST_XDIST_WORKER", "COLUMNS"):
        monkeypatch.delenv(told_by_xdist, raising=False)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a folder with a small suite whose results are made up."""
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.syspath_prepend(str(ROOT))
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=SUITE)
    return pytester


@pytest.fixture(scope="module", params=["0", "2"], ids=["one-process", "two-workers"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Return one run of the whole suite, without and with workers."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "conftest.py").write_text(dedent(CONFTEST), encoding="utf-8")
    (folder / "test_it.py").write_text(dedent(SUITE), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", *PLUGINS, "-n", request.param]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    done = subprocess.run(
        [*command, "--benchmark-json=out.json"],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return FinishedRun(done.stdout + done.stderr, saved(folder / "out.json"))
