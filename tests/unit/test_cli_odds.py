"""Commands on saved runs under bad circumstances: each ends by its own word, never by a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from tests.saved_records import repeats, save

ROOT = Path(__file__).resolve().parents[2]
NO_FILES = ("x" * 5000, "x" * 5000 + "/y.json", "a**b", "[", "folder", "\x00", "\udcff.json", "")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with two runs."""
    monkeypatch.chdir(tmp_path)
    save(Path("a.json"), repeats(5))
    save(Path("b.json"), repeats(5))
    (tmp_path / ".benchmarks" / "Linux").mkdir(parents=True)
    (tmp_path / "folder").mkdir()
    return tmp_path


def call(*words: str) -> Result:
    """Call the command."""
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("command", ["compare", "history", "baseline promote"])
@pytest.mark.parametrize("word", NO_FILES, ids=lambda word: repr(word)[:9])
def test_a_word_that_can_be_no_file_is_no_run(command: str, word: str) -> None:
    """Names too long, patterns that no glob takes, folders without runs."""
    others = () if command == "history" else ("a.json",)
    ended = call(*command.split(), word, *others)
    assert isinstance(ended.exception, SystemExit)
    assert (ended.exit_code, "Error: " in ended.output) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "a.json,a.json", "b.json"),
        ("compare", "b.json", "./a.json,a.json"),
        ("compare", "a.json", "copies"),
        ("compare", "main,a.json", "b.json"),
        ("baseline", "promote", "copies", "--as=other"),
    ],
    ids=" ".join,
)
def test_one_run_is_no_evidence_twice(here: Path, words: tuple[str, ...]) -> None:
    """Given twice, as a copy, or as its own baseline, it would count as more repeats than were measured."""
    for name in ("one", "two"):
        save(here / "copies" / f"{name}.json", repeats(5), run_id="same")
    assert call("baseline", "promote", "a.json").exit_code == 0
    ended = call(*words)
    assert ended.exit_code == 2
    assert "one run is given twice" in ended.output


def test_links_in_a_circle_are_no_run(here: Path) -> None:
    """Older Pythons raise a RuntimeError for them."""
    (here / "loop.json").symlink_to("loop.json")
    ended = call("history", "loop.json")
    assert (ended.exit_code, isinstance(ended.exception, SystemExit)) == (2, True)


def test_a_folder_of_a_baselines_name_is_not_dropped() -> None:
    """It is nobody's baseline."""
    folder = Path(".servebench/baselines/main.json")
    folder.mkdir(parents=True)
    ended = call("baseline", "drop", "main")
    assert (ended.exit_code, folder.is_dir()) == (2, True)
    assert "the baseline cannot be removed" in ended.output


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("{} compare a.json b.json > /dev/full", 1),
        ("{} history a.json b.json --format=json > /dev/full", 1),
        ("{} baseline list > /dev/full", 1),
        ("{} compare a.json b.json >&-", 0),
        ("{} baseline list >&-", 0),
    ],
)
def test_output_that_goes_nowhere(shell: str, code: int) -> None:
    """A full disk fails with one line, and a closed output is somebody's wish."""
    servebench = f"PYTHONPATH='{ROOT}' '{sys.executable}' -P -m pytest_servebench.cli"
    ended = subprocess.run(shell.format(servebench), shell=True, capture_output=True, text=True, check=False)
    said = "Error: [Errno 28] No space left on device" if code else ""
    assert (ended.returncode, ended.stderr.strip()) == (code, said)
