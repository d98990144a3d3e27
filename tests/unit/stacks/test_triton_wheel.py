"""What of the server lies in its wheel, and what a machine without it is told."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.stacks.triton_wheel import (
    Interpreter,
    TritonWheel,
    find_wheel,
    missing_server,
    running_interpreter,
)


def test_running_python_is_the_one_of_this_environment() -> None:
    """The stub must see this environment's packages, so its folder is not resolved to the base's."""
    found = running_interpreter()
    assert found.bin_path == Path(sys.executable).parent
    assert found.version == ".".join(map(str, sys.version_info[:2]))


def test_wheel_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch, wheel: TritonWheel) -> None:
    """The package imports zmq and much else; its folder is all that is needed."""
    (wheel.package_path / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.delitem(sys.modules, "pytriton", raising=False)
    monkeypatch.syspath_prepend(str(wheel.package_path.parent))
    assert find_wheel() == wheel


def test_package_without_the_binary_is_no_wheel(monkeypatch: pytest.MonkeyPatch, wheel: TritonWheel) -> None:
    """Another package of that name, or half an installation, is not taken for the server."""
    (wheel.package_path / "__init__.py").touch()
    wheel.server_path.unlink()
    monkeypatch.syspath_prepend(str(wheel.package_path.parent))
    assert find_wheel() is None


def test_missing_wheel_names_the_extra(interpreter: Interpreter) -> None:
    """Without the server the remedy is one command."""
    (piece,) = missing_server(None, interpreter)
    assert piece.remedy == 'pip install "pytest-servebench[triton]"'
    assert "nvidia-pytriton" in piece.what


def test_nothing_is_missing_where_all_is_there(wheel: TritonWheel, interpreter: Interpreter) -> None:
    """A complete machine lacks nothing."""
    assert missing_server(wheel, interpreter) == ()


def test_missing_stub_names_the_versions_there_are(
    wheel: TritonWheel, interpreter: Interpreter, tmp_path: Path
) -> None:
    """A Python without a stub is told which ones have one, in their order."""
    (tmp_path / "libpython3.14.so.1.0").touch()
    (piece,) = missing_server(wheel, replace(interpreter, version="3.14"))
    assert "for Python 3.14 (the installed nvidia-pytriton has it for 3.9, 3.11)" in piece.what
    assert piece.remedy.startswith('pip install "pytest-servebench[triton]"')


def test_missing_shared_library_names_its_package(wheel: TritonWheel, interpreter: Interpreter) -> None:
    """A Python linked statically can not be embedded in Triton's stub."""
    (piece,) = missing_server(wheel, replace(interpreter, libpython_paths=()))
    assert piece.what.startswith("libpython3.11.so.1.0")
    assert piece.remedy.startswith("apt-get install libpython3.11")


def test_missing_bash_is_told(
    wheel: TritonWheel, interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton starts its stubs by bash and by no other shell."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (piece,) = missing_server(wheel, interpreter)
    assert piece.what.startswith("bash")
