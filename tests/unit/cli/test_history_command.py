"""The command ``servebench history``: what is printed, drawn, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from tests.runs_made_up import made_up_run, save

WOBBLE = (1.0, 1.01, 0.99, 1.005)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of 15 runs, the last five slower, in which commands run."""
    for number in range(15):
        level = (11.0 if number >= 10 else 10.0) * WOBBLE[number % 4]
        run = made_up_run(f"run{number}", [level], started=f"2026-11-{number + 1:02}T10:00:00+00:00")
        save(tmp_path / "runs" / f"{number:04}.json", run, commit={"id": f"{number:x}" * 12})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def history(*words: str) -> Result:
    """Return how a history ended."""
    return CliRunner().invoke(main, ["history", *words])


def test_a_change_is_told_with_its_commit(folder: Path) -> None:
    """The run where it began is named, with day and commit; standard output is plain."""
    done = history("runs", "--figures=p95")
    assert done.exit_code == 0, done.output
    assert "since 0010 (2026-11-11 10:00, commit aaaaaaaaaa)" in done.output
    assert done.output.endswith("1 change in 1 series: 1 for the worse\n")
    assert "\x1b[" not in done.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("runs", "--fail=p95:5%"), 1),
        (("runs", "--fail"), 1),
        (("runs", "--fail=p95:20%"), 0),
        (("runs", "--fail=p95:5%:2ms"), 0),
        (("runs/000*.json", "--fail=p95:5%"), 0),
        (("runs/001*.json", "--fail=p95:5%"), 1),
        (("runs/001*.json", "--fail=p95:5%", "--inconclusive=warn"), 0),
        (("runs/001*.json",), 0),
    ],
)
def test_the_exit_code_is_by_fail(folder: Path, words: tuple[str, ...], code: int) -> None:
    """1 when the latest level is worse by more than its limit, or when nothing could be judged."""
    done = history(*words)
    assert done.exit_code == code, done.output
    assert ("fails: " in done.output) is (code == 1)


def test_a_limited_figure_is_judged_though_it_was_not_chosen(folder: Path) -> None:
    """--figures hides nothing that --fail names."""
    done = history("runs", "--figures=memory", "--fail=throughput:5%")
    assert done.exit_code == 1
    assert "limit -5%, since " in done.output


def test_json_is_read_by_programs(folder: Path) -> None:
    """Nothing but the data is on standard output."""
    content = json.loads(history("runs", "--format=json", "--figures=p95,p50").output)
    assert len(content["runs"]) == 15
    assert [each["figure"] for each in content["series"]] == ["p50", "p95"]
    assert content["series"][1]["changes"][0]["commit"] == "aaaaaaaaaa"


def test_a_picture_is_drawn_beside(folder: Path) -> None:
    """--output draws, and the table is printed all the same."""
    done = history("runs", "--figures=p95", "--output=drawn/history.svg")
    assert done.exit_code == 0, done.output
    assert done.output.endswith("written: drawn/history.svg\n")
    assert (folder / "drawn" / "history.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("nothing",), "a saved run cannot be read"),
        (("nothing*",), "there is no saved run"),
        (("runs", "--output=x.gif"), "--output of a history is a picture"),
        (("runs", "--figures=p59"), "--figures does not know the figure 'p59'"),
        (("runs", "--fail=p95"), "--fail has no limit in 'p95'"),
    ],
)
def test_wrong_words_are_refused(folder: Path, words: tuple[str, ...], what: str) -> None:
    """The message names what is wrong, with the exit code of wrong options."""
    done = history(*words)
    assert done.exit_code == 2
    assert what in " ".join(done.output.split())
