"""Many saved runs: which files are read, and in what order."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_servebench.comparison.chronicle import instant, read_chronicle
from pytest_servebench.errors import PlanError
from tests.runs_made_up import made_up_run, save

COMMIT = {"id": "0123456789abcdef", "branch": "main", "dirty": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three runs, named against the order of time, and a file that is none."""
    for name, day, place in (("c", 1, "one"), ("b", 2, "one"), ("a", 3, "two")):
        run = made_up_run(name, started=f"2026-11-0{day}T10:00:00+00:00")
        save(tmp_path / place / f"{name}.json", run, commit=COMMIT if name == "c" else None)
    (tmp_path / "two" / "other.json").write_text('{"benchmarks": []}', encoding="utf-8")
    return tmp_path


def names(*words: str) -> list[str]:
    """Return the names of the runs that are found."""
    return [run.name for run in read_chronicle(words).runs]


def test_a_folder_is_read_with_all_below_it_in_order_of_time(folder: Path) -> None:
    """pytest-benchmark's storage has a folder for each kind of machine; names do not order runs."""
    found = read_chronicle([str(folder)])
    assert [run.name for run in found.runs] == ["c", "b", "a"]
    assert [run.commit for run in found.runs] == ["0123456789+ (main)", "", ""]
    (left_out,) = found.left_out
    assert left_out == (
        f"{folder}/two/other.json: this file is no run of pytest-servebench (it has no servebench.records)"
    )


def test_globs_and_files_are_read_once(folder: Path) -> None:
    """A file that several words mean is one run; so is a copy of it."""
    (folder / "copy.json").write_bytes((folder / "one" / "b.json").read_bytes())
    found = names(str(folder / "one" / "*.json"), str(folder / "one" / "b.json"), str(folder / "copy.json"))
    assert found == ["c", "b"]


def test_a_copy_of_a_run_is_named(folder: Path) -> None:
    """Whoever counts files and sees fewer runs is told why."""
    first, copy = folder / "one" / "b.json", folder / "two" / "b-again.json"
    copy.write_bytes(first.read_bytes())
    assert f"{copy}: the same run as {first}" in read_chronicle([str(folder)]).left_out


@pytest.mark.parametrize("branch", ["(detached head)", "(unknown)", None])
def test_a_branch_that_git_did_not_know_is_none(branch: str | None, tmp_path: Path) -> None:
    """A CI checkout has no branch; pytest-benchmark writes words in its place."""
    path = save(
        tmp_path / "a.json", made_up_run("a", started="2026-11-01"), commit={**COMMIT, "branch": branch}
    )
    assert [run.commit for run in read_chronicle([str(path)]).runs] == ["0123456789+"]


def test_a_file_that_was_named_must_be_a_run(folder: Path) -> None:
    """What the user typed is not silently left out."""
    with pytest.raises(PlanError, match="this file is no run of pytest-servebench"):
        names(str(folder / "two" / "other.json"))


@pytest.mark.parametrize("word", ["nothing-*.json", "."])
def test_where_there_is_no_run_it_is_said(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, or a glob that means nothing, is an error that says how runs are saved."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match="there is no saved run") as caught:
        names(word)
    assert "--benchmark-autosave" in caught.value.next_step


def test_a_run_without_a_date_has_no_place(tmp_path: Path) -> None:
    """A run that does not say when it was measured cannot be put in order."""
    path = save(tmp_path / "old.json", made_up_run("old"))
    with pytest.raises(PlanError, match="does not say when it was measured"):
        names(str(path))


@pytest.mark.parametrize(
    "text",
    ["2026-11-01T10:00:00+00:00", "2026-11-01T12:00:00+02:00", "2026-11-01T10:00:00Z", "2026-11-01T10:00:00"],
)
def test_instants_are_those_of_utc(text: str) -> None:
    """Zones are kept to; without one it is UTC."""
    assert instant(text) == datetime(2026, 11, 1, 10, tzinfo=timezone.utc)
    assert instant(None) is None
