"""Folders that one process makes: whole or not at all, and errors are those of whoever keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from pytest_servebench.errors import ModelError
from pytest_servebench.folders.made_once import made_whole, one_maker


def test_a_folder_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    """Until then its place is empty, whatever an earlier try and an earlier folder left."""
    place = tmp_path / "kept"
    for leftover in (place, tmp_path / ".building-kept"):
        leftover.mkdir()
        (leftover / "old").touch()
    with made_whole(place) as staging:
        (staging / "new").touch()
        assert not place.exists()
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert [each.name for each in place.iterdir()] == ["new"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """Half a folder would be taken for a whole one, or fill the disk."""
    with pytest.raises(FileExistsError), made_whole(tmp_path / "kept") as staging:
        staging.mkdir()
    assert list(tmp_path.iterdir()) == []


def made_alone(place: Path) -> None:
    """Make a file in a folder as its only maker."""
    with one_maker(
        place,
        timeout_s=0.0,
        busy=lambda lock: ModelError("busy", where=lock, next_step="wait"),
        unwritable=lambda error: ModelError("unwritable", seen=str(error), next_step="free some"),
    ):
        place.mkdir()
        (place / "made").touch()


def test_a_maker_has_its_folder_made_and_its_lock_given_back(tmp_path: Path) -> None:
    """The next one need not wait."""
    place = tmp_path / "not yet there" / "kept"
    made_alone(place)
    assert (place / "made").exists()
    with FileLock(f"{place}.lock", timeout=0):
        pass


def test_another_maker_is_named_by_its_lock(tmp_path: Path) -> None:
    """Who waits in vain is told for what."""
    place = tmp_path / "kept"
    with FileLock(f"{place}.lock"), pytest.raises(ModelError, match="busy") as found:
        made_alone(place)
    assert found.value.where == f"{place}.lock"
    assert not place.exists()


def test_a_disk_that_refuses_is_the_callers_error(tmp_path: Path) -> None:
    """Both of the folder above and of what is made in it."""
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "kept", tmp_path / "file"):
        with pytest.raises(ModelError, match="unwritable") as found:
            made_alone(place)
        assert "file" in str(found.value.seen)
