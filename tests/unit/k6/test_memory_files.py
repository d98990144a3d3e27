"""Files that another process can open by name, and that are gone with this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_servebench.k6.memory_files import MemoryFiles

COPY = """
import sys
from pathlib import Path
Path(sys.argv[2]).write_bytes(Path(sys.argv[1]).read_bytes()[::-1])
"""


def copy(source: str, target: str) -> None:
    """Have another process write one file's bytes, turned round, into another."""
    subprocess.run([sys.executable, "-I", "-c", COPY, source, target], check=True, timeout=30)


def test_another_process_reads_and_writes_them() -> None:
    """By the name that was given, as k6 does."""
    with MemoryFiles() as files:
        source, target = files.add(b"ab" * 100_000), files.add()
        copy(source, target)
        assert Path(target).read_bytes() == b"ba" * 100_000


def test_a_pipe_brings_what_another_process_writes() -> None:
    """Reading never waits: without data there is BlockingIOError."""
    with MemoryFiles() as files:
        reading, name = files.pipe()
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
        copy(files.add(b"abc"), name)
        assert os.read(reading, 10) == b"cba"


def test_nothing_is_left_after_leaving() -> None:
    """Descriptors and names are gone."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with MemoryFiles() as files:
        name = files.add(b"x")
        files.pipe()
    assert not Path(name).exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
