"""Where the files that travel with the package lie, and how they are named to somebody."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.folders import shipped as looked_in
from pytest_servebench.folders.shipped import suite_from


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the package's folder as a wheel leaves it, in a path with a space."""
    package = tmp_path / "a project" / ".venv" / "pytest_servebench"
    (package / "_shipped" / "benchmarks").mkdir(parents=True)
    monkeypatch.setattr(looked_in, "_PACKAGE", package)
    return package


def test_in_a_checkout_the_benchmarks_are_called_as_the_docs_call_them() -> None:
    """What the doctor gives to type there is what the documentation says."""
    assert suite_from(Path(__file__).parents[3]) == "benchmarks"


def test_a_copy_of_the_benchmarks_is_taken(installed: Path, tmp_path: Path) -> None:
    """Somebody who copied the suite into a project means that one; any other folder of the name is not it."""
    (tmp_path / "benchmarks").mkdir()
    assert suite_from(tmp_path).endswith("_shipped/benchmarks'")
    (tmp_path / "benchmarks" / "test_latency.py").touch()
    assert suite_from(tmp_path) == "benchmarks"


def test_installed_benchmarks_are_named_where_they_lie(installed: Path, tmp_path: Path) -> None:
    """A project has no folder of that name: the path leads into the package, as a shell reads it."""
    assert suite_from(tmp_path / "a project") == ".venv/pytest_servebench/_shipped/benchmarks"
    assert suite_from(tmp_path / "elsewhere") == f"'{installed}/_shipped/benchmarks'"
