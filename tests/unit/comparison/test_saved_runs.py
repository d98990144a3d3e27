"""Runs are found by whatever a person calls them, and what is none is told in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench import record
from pytest_servebench.comparison.baselines import BaselineStore
from pytest_servebench.comparison.promoting import baseline_of
from pytest_servebench.comparison.record_shape import SCHEMA
from pytest_servebench.comparison.replicates import replicates_of
from pytest_servebench.comparison.saved_runs import (
    SavedRun,
    described,
    find_baseline,
    find_run,
    read_run,
)
from pytest_servebench.errors import PlanError
from tests.saved_records import repeats, save, saved_record


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find(word: str) -> SavedRun:
    """Return what a word means in this folder."""
    return find_run(word, baselines_dir=Path("baselines"), storage=Path(".benchmarks"))


def promote(name: str, *paths: str) -> Path:
    """Make a baseline of saved runs."""
    made = baseline_of([find(path) for path in paths], name=name, promoted="2026-11-20T09:00:00+00:00")
    return BaselineStore(Path("baselines")).write(made)


def test_the_schema_that_is_written_is_read() -> None:
    """Whoever raises the one thinks of the other."""
    assert SCHEMA == record.SCHEMA


def test_a_file_a_folder_and_a_glob(here: Path) -> None:
    """Files of a folder, or that a pattern finds, are one run; so are those with commas between."""
    for number in (1, 2):
        save(here / "runs" / f"{number}.json", [saved_record(repeat=number)])
    assert find("runs/1.json").name == "1"
    for word in ("runs", "runs/*.json", "runs/1.json, runs/2.json", str(here / "runs" / "?.json")):
        found = find(word)
        assert len(found.records) == len(found.facts) == len(found.paths) == 2
        assert [len(group) for group in replicates_of(found.records).values()] == [2]
    assert [fact["run_id"] for fact in find("runs").facts] == ["1", "2"]


def test_a_baseline_comes_before_a_file_of_its_name(here: Path) -> None:
    """A person who promoted something means that; the file is meant by its path."""
    save(here / "run.json", repeats(5))
    path = promote("main", "run.json")
    save(here / "main", [saved_record()])
    assert (find("main").promoted, len(find("main").records)) == ("2026-11-20T09:00:00+00:00", 5)
    assert find("./main").promoted is None
    assert read_run(path).promoted is not None
    save(here / "other.json", repeats(5))
    assert find("main,other.json").name == "main,other.json"


def test_a_number_of_pytest_benchmarks_storage(here: Path) -> None:
    """As pytest-benchmark itself finds it: by the begin of its name, in the folder of any machine."""
    for name in ("0001_first", "0002_second", "0002_other"):
        save(here / ".benchmarks" / "Linux-CPython" / f"{name}.json", [saved_record()])
    assert find("0001").name == "0001_first"
    assert find("Linux-CPython/0001").name == "0001_first"
    assert find("0002_s").name == "0002_second"
    assert len(find("0002*").records) == 2
    with pytest.raises(PlanError, match=r"'0002' names 2 saved runs") as caught:
        find("0002")
    assert "0002_other.json" in caught.value.seen


def test_what_is_not_there_is_told_with_what_is(here: Path) -> None:
    """Names that are known are listed, and a near one is offered."""
    save(here / ".benchmarks" / "Linux" / "0001_first.json", repeats(5))
    promote("main", "0001")
    with pytest.raises(PlanError, match=r"no saved run is called 'mian': did you mean main\?") as caught:
        find("mian")
    assert caught.value.seen == "baselines: main; saved runs: 0001_first"
    for word in ("../main", "/nowhere/main.json", "no*thing"):
        with pytest.raises(PlanError, match="no saved run is called"):
            find(word)
    with pytest.raises(PlanError, match="a run has no name"):
        find("main,")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "the file is empty"),
        ("{", "it is not JSON: Expecting property name"),
        ("<!doctype html>", "it is not JSON: "),
        ("[]", "it has no servebench.records"),
        ('{"benchmarks": [], "machine_info": {}}', "it has no servebench.records"),
        ('{"schema": 1, "runs": [], "cases": [], "winners": []}', "it is the summary of a report"),
        ('{"servebench": {"records": {}}}', "it has no servebench.records"),
        ('{"servebench": {"records": []}}', "servebench.records is empty"),
        ('{"servebench": {"records": [{"case": {}}]}}', "record 1 has no schema"),
        ('{"servebench": {"records": [{"schema": 2, "case": {}}]}}', "schema 2; this one reads up to 1"),
    ],
)
def test_a_file_that_is_no_run_is_told_as_such(here: Path, content: str, what: str) -> None:
    """Stock files of pytest-benchmark, empty ones, broken ones and newer ones each say what they are."""
    (here / "it.json").write_text(content, encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        read_run(here / "it.json")
    assert what in caught.value.seen
    assert caught.value.where == str(here / "it.json")
    assert caught.value.next_step


def test_an_empty_folder_and_mixed_schemas_are_refused(here: Path) -> None:
    """Nothing is compared that means different things."""
    with pytest.raises(PlanError, match="this folder holds no saved run"):
        read_run(here)
    save(here / "1.json", [saved_record()])
    save(here / "2.json", [saved_record(schema=0)])
    with pytest.raises(PlanError, match="records of different schemas") as caught:
        find("1.json,2.json")
    assert caught.value.seen == "0, 1"


def test_a_baseline_is_a_name_or_a_path(here: Path) -> None:
    """A saved run may stand in for a baseline, by its path only: no number, no glob."""
    save(here / "run.json", repeats(5))
    promote("main", "run.json")
    folder = Path("baselines")
    assert find_baseline("main", baselines_dir=folder).promoted
    assert find_baseline("run.json", baselines_dir=folder).promoted is None
    for word in ("other", "other.json"):
        with pytest.raises(PlanError, match="there is n") as caught:
            find_baseline(word, baselines_dir=folder)
        assert caught.value.seen == "baselines there: main"
        assert "servebench baseline promote RUN.json" in caught.value.next_step


@pytest.mark.parametrize(
    ("records", "text"),
    [
        (repeats(5), "run (measured 2026-11-20, 5 repeats, 1 case)"),
        ([saved_record()], "run (measured 2026-11-20, 1 repeat, 1 case)"),
        ([*repeats(2), *repeats(3, stack="triton")], "run (measured 2026-11-20, 2 to 3 repeats, 2 cases)"),
    ],
)
def test_a_run_in_a_few_words(here: Path, records: list[dict[str, Any]], text: str) -> None:
    """The header says what is compared with."""
    assert described(find(str(save(here / "run.json", records)))) == text
    promote("main", "run.json")
    told = text.replace("run (measured", "main (promoted")
    assert described(find_baseline("main", baselines_dir=Path("baselines"))) == told


def test_a_folder_of_another_name_is_no_baseline(here: Path) -> None:
    """A file that looks like a baseline in the store, and is not, is named."""
    (here / "baselines").mkdir()
    (here / "baselines" / "main.json").write_text(json.dumps({"a": 1}), encoding="utf-8")
    with pytest.raises(PlanError, match="this baseline is broken"):
        find("main")
