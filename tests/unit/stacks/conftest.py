"""What tests of Triton's description share: a wheel and an interpreter made of empty files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.stacks.triton_wheel import Interpreter, TritonWheel


@pytest.fixture
def wheel(tmp_path: Path) -> TritonWheel:
    """Make a wheel with a server and a stub for Python 3.11, in a folder with a dollar."""
    wheel = TritonWheel(package_path=tmp_path / "$site" / "pytriton")
    for path in (wheel.server_path, wheel.stub_path("3.11"), wheel.stub_path("3.9")):
        path.parent.mkdir(parents=True)
        path.touch()
    return wheel


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Make a Python 3.11 with its shared library."""
    (tmp_path / "libpython3.11.so.1.0").touch()
    return Interpreter(version="3.11", bin_path=Path("/venv/bin"), libpython_paths=(Path("/no"), tmp_path))
