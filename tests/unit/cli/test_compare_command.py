"""The command ``servebench compare``: which runs, what is written, and how it ends."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from tests.runs_made_up import STEADY, made_up_run, save, times


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of two runs, the second slower, in which commands run."""
    save(tmp_path / "before.json", made_up_run("before"))
    save(tmp_path / "slower.json", made_up_run("slower", times(STEADY, 1.2)))
    save(tmp_path / "single.json", made_up_run("single", STEADY[:1]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def compare(*words: str) -> Result:
    """Return how a comparison ended."""
    return CliRunner().invoke(main, ["compare", *words])


@pytest.mark.parametrize(
    ("command", "next_step"), [("compare", "BEFORE.json AFTER.json"), ("history", ".benchmarks")]
)
def test_without_a_run_the_next_step_is_a_command(command: str, next_step: str) -> None:
    """A command that was typed alone says what to type behind it."""
    done = CliRunner().invoke(main, [command])
    assert done.exit_code == 2
    assert "no run is given" in done.output
    assert f"servebench {command} {next_step}" in done.output


def test_the_table_is_plain_and_ends_well(folder: Path) -> None:
    """Without a terminal there is no colour, and without --fail the exit code is 0."""
    done = compare("before.json", "slower.json")
    assert done.exit_code == 0, done.output
    assert "\x1b[" not in done.output
    assert done.output.endswith("2 regressions\n")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("before.json", "slower.json", "--fail=p95:10%"), 1),
        (("before.json", "slower.json", "--fail"), 1),
        (("before.json", "slower.json", "--fail", "--format=csv"), 1),
        (("before.json", "before.json", "--fail"), 0),
        (("before.json", "slower.json", "--fail=p95:30%"), 0),
        (("slower.json", "before.json", "--fail=p95:10%"), 0),
        (("before.json", "before.json", "slower.json", "--fail=p95:10%"), 1),
        (("before.json", "single.json", "--fail=p95:10%"), 1),
        (("before.json", "single.json", "--fail=p95:10%", "--inconclusive=warn"), 0),
        (("before.json", "single.json"), 0),
    ],
)
def test_the_exit_code_is_by_fail(folder: Path, words: tuple[str, ...], code: int) -> None:
    """1 for a regression beyond a limit, in any run; for doubts by --inconclusive."""
    done = compare(*words)
    assert done.exit_code == code, done.output


def test_a_file_is_written_and_the_counts_are_printed(folder: Path) -> None:
    """--output makes the file, and its folder; standard output has the counts for the log."""
    done = compare("before.json", "slower.json", "--format=markdown", "--output=out/summary.md")
    assert (done.exit_code, done.output) == (0, "2 regressions\nwritten: out/summary.md\n")
    assert (folder / "out" / "summary.md").read_text(encoding="utf-8").startswith("**2 regressions**\n")


def test_an_output_that_cannot_be_written_is_an_error(folder: Path) -> None:
    """A file in the place of a folder is named, without a traceback."""
    done = compare("before.json", "slower.json", "--output=before.json/summary.md")
    assert done.exit_code == 2
    assert "the output cannot be written" in done.output


def test_an_output_that_breaks_off_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full leaves neither an empty file nor half of one; an earlier one is not removed."""

    def full(path: Path, _content: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = compare("before.json", "slower.json", "--output=out.txt")
    assert (done.exit_code, "No space left" in done.output) == (2, True)
    assert not (folder / "out.txt").exists()
    assert compare("before.json", "slower.json", "--output=before.json").exit_code == 2
    assert (folder / "before.json").exists()


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours_are_by_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, coloured: bool
) -> None:
    """FORCE_COLOR colours what no terminal shows, as a CI's log; NO_COLOR wins."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (
        "\x1b[" in CliRunner().invoke(main, ["compare", "before.json", "slower.json"], color=True).output
    ) == coloured


def test_csv_and_json_are_read_by_programs(folder: Path) -> None:
    """Nothing but the data is on standard output."""
    rows = list(csv.DictReader(compare("before.json", "slower.json", "--format=csv").output.splitlines()))
    content = json.loads(compare("before.json", "slower.json", "--format=json").output)
    assert len(rows) == len(content["rows"]) == 14


def test_figures_are_chosen(folder: Path) -> None:
    """--figures shows these alone."""
    content = json.loads(compare("before.json", "slower.json", "--figures=p99,p50", "--format=json").output)
    assert [row["figure"] for row in content["rows"]] == ["p50", "p50", "p99", "p99"]


def test_a_baseline_is_called_by_name(folder: Path) -> None:
    """What was promoted is found in the folder of baselines, and in one that --baselines names."""
    promoted = CliRunner().invoke(main, ["baseline", "promote", "before.json", "--as=main", "--dir=kept"])
    assert promoted.exit_code == 0, promoted.output
    assert compare("main", "slower.json").exit_code == 2
    done = compare("main", "slower.json", "--baselines=kept", "--fail=p95:10%")
    assert done.exit_code == 1, done.output
    assert "A  main (promoted " in done.output


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("before.json",), "2 to 26 runs can be compared"),
        (("before.json", "nothing.json"), "no saved run is called 'nothing.json'"),
        (("before.json", "slower.json", "--figures=p59"), "--figures does not know the figure 'p59'"),
        (("before.json", "slower.json", "--fail=p95"), "--fail has no limit in 'p95'"),
        (("--fail", "before.json", "slower.json"), "--fail has no limit in 'before.json'"),
        (("before.json", "slower.json", "--allow-different=cup"), "--allow-different does not know 'cup'"),
        (("before.json", "slower.json", "--format=html"), "'html' is not one of"),
    ],
)
def test_wrong_words_are_refused(folder: Path, words: tuple[str, ...], what: str) -> None:
    """The message names what is wrong, with the exit code of wrong options."""
    done = compare(*words)
    assert done.exit_code == 2
    assert what in " ".join(done.output.split())


_SERVEBENCH = f'"{sys.executable}" -P -m pytest_servebench.cli'
_IN_A_TERMINAL = "import pty, sys; sys.exit(pty.spawn(['bash', '-c', sys.argv[1]]))"


def servebench(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell in which ``servebench`` is the command."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("servebench", _SERVEBENCH)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("fail", "code"), [("", 0), (" --fail=p95:10%", 1)])
def test_a_reader_that_goes_away_is_no_error(folder: Path, fail: str, code: int) -> None:
    """``| head`` ends without a traceback, and the exit code is that of the verdict."""
    done = servebench(folder, f"servebench compare before.json slower.json --format=csv{fail} | true")
    assert (done.stderr, done.returncode) == ("", code)


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
def test_a_terminal_has_colours(folder: Path, variable: str, coloured: bool) -> None:
    """In a terminal verdicts are coloured, but for those who ask for none."""
    inner = f"env -u NO_COLOR TERM=xterm {variable} servebench compare before.json slower.json"
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_TERMINAL, inner.replace("servebench", _SERVEBENCH)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "2 regressions" in done.stdout
    assert ("\x1b[" in done.stdout) is coloured


def test_what_an_encoding_lacks_is_no_error(folder: Path) -> None:
    """A name that the terminal's encoding has no letters for is shown with ``?``."""
    save(folder / "größe.json", made_up_run("größe"))
    done = servebench(folder, "PYTHONIOENCODING=ascii servebench compare before.json größe.json")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "B  gr??e (" in done.stdout


def test_only_what_a_comparison_needs_is_imported(folder: Path) -> None:
    """No Docker, no torch, no pictures, no pytest."""
    script = (
        "import sys\nfrom pytest_servebench.cli import main\n"
        "main(['compare', 'single.json', 'single.json'], standalone_mode=False)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "rich" in loaded
    heavy = {"docker", "torch", "matplotlib", "ruptures", "httpx", "pytest", "onnxruntime", "psutil"}
    assert loaded & heavy == set()
