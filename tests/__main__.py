"""Runs every test: first those that only compute, on all cores, then those that take time, one by one.

Usage: python -m tests [ARGUMENTS FOR PYTEST]
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

ONLY_COMPUTE = (
    "tests/unit",
    "tests/plugin/test_arrivals_chosen.py",
    "tests/plugin/test_docs_plans.py",
    "tests/plugin/test_entries.py",
    "tests/plugin/test_plugin_options.py",
    "tests/plugin/test_recording.py",
    "tests/plugin/test_recording_stock.py",
)
"""What is right however busy the machine is. All others send real loads or start real servers."""
ON_ALL_CORES = ("-n", "logical", "--maxprocesses=8", "--dist=loadfile")
"""By file: what the tests of a file share is made once."""


def commands(arguments: Sequence[str]) -> list[list[str]]:
    """Return both runs of pytest; ``arguments`` are for both."""
    pytest_here = [sys.executable, "-m", "pytest"]
    others = ["tests", *(f"--ignore={path}" for path in ONLY_COMPUTE)]
    return [
        [*pytest_here, *ONLY_COMPUTE, *ON_ALL_CORES, *arguments],
        [*pytest_here, *others, "--durations=25", *arguments],
    ]


def verdict(exit_codes: Sequence[int]) -> int:
    """Return the first that is not good; a run that holds none of the tests asked for says nothing."""
    nothing = int(pytest.ExitCode.NO_TESTS_COLLECTED)
    told = [code for code in exit_codes if code != nothing]
    return next(filter(None, told), 0) if told else nothing


def _exit_codes(arguments: Sequence[str]) -> Iterator[int]:
    for command in commands(arguments):
        with subprocess.Popen(command) as run:
            # Ctrl-C reaches it as it reaches us, and it has servers to stop before it ends.
            signal.signal(signal.SIGINT, _let_it_end)
            signal.signal(signal.SIGTERM, lambda *_, run=run: run.terminate())
            yield run.wait()
        if run.returncode == pytest.ExitCode.INTERRUPTED:
            return


def _let_it_end(*_: Any) -> None: ...


if __name__ == "__main__":
    sys.exit(verdict(list(_exit_codes(sys.argv[1:]))))
