"""A saved run from elsewhere is shown as text: it commands no terminal, calls nobody and breaks no table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_servebench.cli import main
from pytest_servebench.errors import PlanError
from pytest_servebench.printable import printable_text
from tests.saved_records import repeats, save

EVIL = "\x1b[31m\x9b\x07\r\u202e|`a`\\|<script>x</script>![i](http://e/i.png) [l](http://e) @you #12 $x$"
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
LIVE = re.compile(r"(?<!\\)\]\(http|(?<!\\)<script|(?<![\\`])`a`|@you|(?<!&)#12|\$x")
CELL_ENDS = re.compile(r"(?<!\\)(?:\\\\)*\|")


def evil(value: object, key: str = "") -> object:
    """Return a part of a record in which every text that is free says something bad behind its own."""
    if isinstance(value, Mapping):
        return {name: evil(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [evil(part) for part in value]
    return f"{value}{EVIL}" if isinstance(value, str) and key not in ("validity", "started") else value


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with two runs of somebody else's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("a", "b"):
        path = save(tmp_path / f"{name}.json", repeats(5))
        said = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(evil(said)), encoding="utf-8")
    return tmp_path


def told(*words: str) -> str:
    """Return what a command prints, its errors too."""
    ended = CliRunner().invoke(main, list(words), color=True)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
    return ended.output


@pytest.mark.parametrize("words", ["table", "markdown", "csv", "json"])
def test_a_comparison_commands_no_terminal(words: str) -> None:
    """Names, packages and reasons of a file that was sent are shown in every form."""
    text = told("compare", "a.json", "b.json", f"--format={words}")
    assert "31m" in text
    assert COMMANDS.findall(text) == []


def test_baselines_and_histories_command_none(here: Path) -> None:
    """Nor does the name of a file, nor what is left out, nor an error about it."""
    bad = here / "\x1b[31mbad.json"
    bad.write_text(json.dumps({"servebench": {"records": [{"schema": "\x1b[31m"}]}}), encoding="utf-8")
    for words in (
        ("baseline", "promote", "a.json", "--force"),
        ("baseline", "show"),
        ("history", "."),
        ("compare", "a.json", bad.name),
        ("report", "a.json", bad.name),
    ):
        text = told(*words)
        assert "31m" in text
        assert COMMANDS.findall(text) == []


def test_an_error_quotes_as_text() -> None:
    """What a server answered stands in it, and pytest prints it as it is."""
    error = PlanError("a\x1b[2J", where="b\x07", seen="c\x9b", next_step="d\r")
    assert str(error) == "a?[2J\n  where: b?\n  seen: c?\n  next: d?"
    assert (error.what, error.seen) == ("a?[2J", "c?")


def test_a_summary_is_whole_and_inert(here: Path) -> None:
    """Findings and comparison too: no link, no picture, nobody called, as many cells as heads."""
    told("report", "a.json", "b.json")
    text = (here / "servebench-report" / "summary.md").read_text(encoding="utf-8")
    assert "### Winners" in text
    assert "### Side by side" in text
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("``"))
    assert LIVE.findall(prose) == []
    assert COMMANDS.findall(text) == []
    heads = 0
    for line in text.splitlines():
        ends = len(CELL_ENDS.findall(line)) if line.startswith("| ") else 0
        heads = heads if ends and heads else ends
        assert ends == (heads if ends else 0), line


def test_the_page_runs_nothing_of_theirs(here: Path) -> None:
    """No name in it is markup."""
    told("report", "a.json", "b.json")
    page = (here / "servebench-report" / "report.html").read_text(encoding="utf-8")
    assert "<script>x" not in page
    assert printable_text(EVIL)[:5] in page
