"""Command lines of the documentation, run as a user would, in a folder with the suite and the examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_servebench.folders.shipped import shipped
from tests.doc_blocks import ROOT, blocks_of

TIMEOUT_S = 400
MOST_ATTEMPTS = 3
RESTLESS = ("unstable", "client_limited", "undecided", "inconclusive: ", "other programs used")
"""What a session says of a machine that had too much else to do: its page is then followed once more."""


def complaint_of(follow: Callable[[int], str]) -> str:
    """Return what went otherwise than a page says; ``follow`` is tried again on a restless machine."""
    complaint = ""
    for attempt in range(MOST_ATTEMPTS):
        complaint = follow(attempt)
        if not any(word in complaint for word in RESTLESS):
            break
    return complaint


def is_judged(page: Path, mark: str) -> bool:
    """Return whether a command that a page has with this mark fails where a server has become slower."""
    commands = (one for block in blocks_of(page) if mark in block.words for one in block.commands)
    return any("--serve-fail=" in one for one in commands)


@contextmanager
def user_folder() -> Iterator[Path]:
    """Give a folder with the benchmarks and examples of the repository; big, so it goes away at once."""
    with tempfile.TemporaryDirectory(prefix="servebench docs ") as name:
        path = Path(name)
        shutil.copytree(shipped("benchmarks"), path / "benchmarks")
        for example in (ROOT / "docs" / "examples").glob("*.py"):
            shutil.copy(example, path)
        yield path


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in the environment of the tests, its output and errors together."""
    tools = Path(sys.executable).parent
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
