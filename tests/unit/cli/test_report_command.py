"""The command ``servebench report``: what is written, what is printed, and what is said of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from pytest_servebench.reports import folder
from tests.saved_records import repeats, save, saved_record


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two saved runs and a baseline, in which commands run."""
    save(tmp_path / "monday.json", repeats(3))
    save(
        tmp_path / ".benchmarks" / "Linux" / "0001_tuesday.json",
        [saved_record(), saved_record(stack="triton")],
    )
    monkeypatch.chdir(tmp_path)
    promoted = CliRunner().invoke(main, ["baseline", "promote", "monday.json", "--as=main"])
    assert promoted.exit_code == 0, promoted.output
    return tmp_path


def report(*words: str) -> Result:
    """Return how a report ended."""
    return CliRunner().invoke(main, ["report", *words])


def runs_in(path: Path) -> list[dict[str, Any]]:
    """Return the runs that a report is of."""
    found: list[dict[str, Any]] = json.loads((path / "summary.json").read_text("utf-8"))["runs"]
    return found


def test_a_report_is_written_beside_the_user(here: Path) -> None:
    """Into a folder of an own name; each part is printed, the first part last, where it is seen."""
    done = report("monday.json")
    assert done.exit_code == 0, done.output
    out = here / "servebench-report"
    written = [line.removeprefix("written: ") for line in done.stdout.splitlines()]
    assert [Path(name).name for name in reversed(written)] == [
        name for name in folder.PARTS if (out / name).exists()
    ]
    assert {"summary.md", "summary.csv", "summary.json"} <= {path.name for path in out.iterdir()}


def test_a_run_is_called_as_everywhere(here: Path) -> None:
    """A file, a baseline's name, a number of pytest-benchmark's storage; side by side in the order given."""
    done = report("main", "0001", "./monday.json", "--output=deep/er")
    assert done.exit_code == 0, done.output
    runs = runs_in(here / "deep" / "er")
    assert [run["name"] for run in runs] == ["main", "0001_tuesday", "monday"]
    assert [run["run"] for run in runs] == ["A", "B", "C"]
    assert runs[0]["promoted"]


def test_runs_can_be_given_names(here: Path) -> None:
    """For a pull request, before and after say more than files."""
    assert report("monday.json", "0001", "--name=before", "--name=after").exit_code == 0
    assert [run["name"] for run in runs_in(here / "servebench-report")] == ["before", "after"]


def test_as_many_names_as_runs(here: Path) -> None:
    """Whoever counts wrong is told, and nothing is written."""
    done = report("monday.json", "--name=a", "--name=b")
    assert done.exit_code == 2
    assert "--name is given once for each run, or not at all" in done.output
    assert "2 for 1 runs" in done.output
    assert not (here / "servebench-report").exists()


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        ((), ("no run is given", "servebench report RUN.json")),
        (("wednesday.json",), ("no saved run is called 'wednesday.json'", "next: give a file")),
        (
            ("monday.json", "--output=monday.json"),
            ("the report cannot be written", "another folder with --output"),
        ),
        (("monday.json", "--output=monday.json/x"), ("the report cannot be written", "next: ")),
        (("--schema=tables",), ("'tables' is not one of 'record', 'summary'",)),
    ],
)
def test_what_is_wrong_is_told_with_its_remedy(
    here: Path, words: tuple[str, ...], sentences: tuple[str, ...]
) -> None:
    """No traceback, the exit code of wrong options, and what to do next."""
    done = report(*words)
    assert done.exit_code == 2, done.output
    for sentence in sentences:
        assert sentence in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("word", ["record", "summary"])
def test_a_schema_is_printed(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON that a program reads, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    done = report(f"--schema={word}")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["$id"] == f"urn:pytest-servebench:{word}:1"
    assert list(tmp_path.iterdir()) == []
