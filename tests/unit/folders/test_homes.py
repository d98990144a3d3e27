"""Paths in a home folder, where there is none."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from pytest_servebench.compose.project import all_known, default_state_dir, state_dir_if_any
from pytest_servebench.errors import PlanError
from pytest_servebench.folders.homes import at_home
from pytest_servebench.models.export import default_cache_dir


def refuse(*_: object) -> str:
    """Raise as newer versions of platformdirs do for a user without a home."""
    raise RuntimeError("could not determine the home directory")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Be a user whom nobody has entered, as in a container that runs as any number."""
    for name in ("SERVEBENCH_CACHE", "SERVEBENCH_STATE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("user_cache_dir", "user_state_dir"):
        monkeypatch.setattr(platformdirs, name, refuse)
    return monkeypatch


def test_a_user_without_a_home_is_told_what_to_set(homeless: pytest.MonkeyPatch) -> None:
    """It was a RuntimeError, and so an INTERNALERROR of pytest's."""
    for folder, variable in (
        (default_cache_dir, "SERVEBENCH_CACHE"),
        (default_state_dir, "SERVEBENCH_STATE"),
    ):
        with pytest.raises(PlanError, match="no home folder") as caught:
            folder()
        assert caught.value.next_step == f"set {variable}=FOLDER"
        homeless.setenv(variable, "/some/where")
        assert folder() == Path("/some/where")


def test_no_folder_is_called_a_tilde(homeless: pytest.MonkeyPatch) -> None:
    """Older versions of platformdirs name one in the working directory."""
    homeless.setattr(platformdirs, "user_cache_dir", lambda _: "~/.cache/pytest-servebench")
    homeless.setattr("os.path.expanduser", lambda text: text)
    with pytest.raises(PlanError, match="SERVEBENCH_CACHE begins in a home folder that is not known"):
        default_cache_dir()


def test_who_has_no_home_has_started_no_project(homeless: pytest.MonkeyPatch) -> None:
    """A session that attaches, and the doctor, look for projects, and need none."""
    assert state_dir_if_any() is None
    assert list(all_known(None)) == []


def test_a_folder_may_be_called_a_tilde() -> None:
    """As a shell has it, ./~ is no home."""
    assert at_home("./~", "--x") == Path("./~")
