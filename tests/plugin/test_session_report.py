"""The report at a session's end: when it is written, where, and what is said when it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.reports import folder
from tests.plugin.echo_suite import ONNX, SPEED, EchoSuite, echo_suite

ALWAYS = {"summary.md", "summary.csv", "summary.json"}
"""What is made of any run, whatever is installed."""
FAILING = SPEED + "\ndef test_red():\n    assert not 'green'\n"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite with one benchmark and a plain test."""
    suite = echo_suite(pytester, monkeypatch)
    suite.write()
    return suite


def run(suite: EchoSuite, *arguments: str) -> pytest.RunResult:
    """Run the suite with echo and one format; workers need a process of their own to be started from."""
    start = suite.run_apart if "-n" in arguments else suite.run
    return start("--stack=echo", ONNX, "--serve-report=out", *arguments)


RAN = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
"""How a session may end whose figures a busy machine can make invalid; the report is the same."""


def said(result: pytest.RunResult) -> list[str]:
    """Return the lines about the report."""
    return [line for line in result.outlines if line.startswith("servebench report: ")]


def summary(suite: EchoSuite) -> dict[str, Any]:
    """Return what ``summary.json`` holds."""
    found: dict[str, Any] = json.loads((suite.pytester.path / "out" / "summary.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("-q",)], ids=["plain", "two-workers", "quiet"])
def test_the_folder_is_written_and_one_line_names_it(suite: EchoSuite, arguments: tuple[str, ...]) -> None:
    """Once, by whoever has all records; its cases are the run's, and the line comes last of what is said."""
    result = run(suite, *arguments)
    assert result.ret in RAN, result.stdout.str()
    written = {path.name for path in (suite.pytester.path / "out").iterdir()}
    assert written >= ALWAYS
    assert not [name for name in written if name.startswith(".")]
    first = next(name for name in folder.PARTS if name in written)
    assert said(result)[-1] == f"servebench report: {Path('out', first)}"
    assert len([line for line in said(result) if "out/" in line]) == 1
    (case,) = summary(suite)["cases"]
    (record,) = suite.records.values()
    assert case["figures"]["response_time_p95_ms"]["value"] == record["response_time_ms"]["p95"]
    assert summary(suite)["runs"][0]["run_ids"] == [suite.json["servebench"]["run_id"]]


def test_a_red_session_has_its_report(suite: EchoSuite) -> None:
    """A report is looked at above all when something is wrong; the exit code is the tests'."""
    suite.write(test=FAILING, stacks="Echo(faults=Faults(wrong_after=20, wrong_image=-1))")
    result = run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "Traceback" not in result.stdout.str()
    (case,) = summary(suite)["cases"]
    assert (case["validity"], case["believed"]) == ("wrong_output", False)
    assert case["reason"]
    assert case["figures"]["response_time_p95_ms"]["value"] is None
    assert case["reason"] in case["figures"]["response_time_p95_ms"]["absent"]


def test_the_gate_s_word_is_in_the_report(suite: EchoSuite) -> None:
    """The session's own baseline was judged before: the summary says against what, and whether it failed."""
    assert run(suite, "--benchmark-json=first.json", "--serve-report=before").ret in RAN
    result = run(
        suite,
        "--serve-baseline=./first.json",
        "--serve-repeats=1",
        "--serve-inconclusive=warn",
        "--benchmark-json=out.json",
    )
    assert result.ret in RAN, result.stdout.str()
    assert summary(suite)["runs"][0]["gate"]["baseline"]["name"] == "first"
    text = (suite.pytester.path / "out" / "summary.md").read_text("utf-8")
    assert "## Gate against `first`: passed" in text
    assert "inconclusive" in text


def test_nothing_measured_writes_nothing(suite: EchoSuite) -> None:
    """An empty report would look like a result."""
    result = run(suite, "-k", "plain")
    assert result.ret == pytest.ExitCode.OK
    assert said(result) == ["servebench report: nothing was measured, so none was written"]
    assert not (suite.pytester.path / "out").exists()


def test_a_session_that_only_collects_says_nothing(suite: EchoSuite) -> None:
    """It was not asked to measure."""
    assert said(run(suite, "--collect-only")) == []


def test_a_smoke_run_has_no_report(suite: EchoSuite) -> None:
    """Loads are short then, and nothing is recorded: figures of it would be wrong ones."""
    result = run(suite, "--benchmark-disable")
    assert result.ret in RAN
    assert said(result) == [
        "servebench report: none, as loads are short and nothing is recorded (--benchmark-disable)"
    ]
    assert not (suite.pytester.path / "out").exists()


def test_it_needs_no_pytest_benchmark(suite: EchoSuite) -> None:
    """Records are there without it, though nothing else saves them."""
    result = run(suite, "-p", "no:benchmark")
    assert result.ret in RAN, result.stdout.str()
    assert len(summary(suite)["cases"]) == 1


@pytest.mark.parametrize("where", ["test_it.py", "test_it.py/below"])
def test_a_folder_that_cannot_be_is_told_at_the_start(suite: EchoSuite, where: str) -> None:
    """Not after hours of measuring: a usage error names option, folder and remedy."""
    result = run(suite, f"--serve-report={where}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*--serve-report names a folder that cannot be written",
            "  where: command line",
            f"  seen: */{where}: */test_it.py is no folder",
            "  next: give a folder that is yours, *",
        ]
    )


@pytest.mark.parametrize(
    ("saves", "why"),
    [
        (("--benchmark-json=not/there/out.json",), "--benchmark-json*not/there is no folder"),
        (("--benchmark-json=.",), "--benchmark-json*it is a folder"),
        (
            ("--benchmark-autosave", "--benchmark-storage=test_it.py"),
            "--benchmark-storage*test_it.py is no folder",
        ),
    ],
)
def test_a_run_that_cannot_be_saved_is_told_at_the_start(
    suite: EchoSuite, saves: tuple[str, ...], why: str
) -> None:
    """pytest-benchmark would end it with a traceback when all is measured, and no record would be left."""
    result = run(suite, *saves)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    first, _, last = why.partition("*")
    result.stderr.fnmatch_lines([f"*{first} names a place that cannot be written*", f"  seen: *{last}"])
    assert run(suite, *saves, "--collect-only").ret == pytest.ExitCode.OK


def test_without_a_folder_for_servers_the_remedy_is_told(suite: EchoSuite) -> None:
    """-p no:tmpdir takes it away."""
    result = run(suite, "-p", "no:tmpdir")
    result.stdout.fnmatch_lines(["*servers have no folder to run in*", "*leave out -p no:tmpdir"])
    result.stdout.no_fnmatch_line("*AttributeError*")


def test_a_disk_that_is_full_at_the_end_costs_no_record(
    suite: EchoSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One red line with the way out, exit code 1, no traceback, and the run is saved."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "_put", full)
    result = run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (line,) = said(result)
    assert "cannot be written into" in line
    assert "No space left on device; the records are saved: servebench report RUN.json" in line
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert len(suite.records) == 1
    unsaved = run(suite, "--benchmark-quiet")
    assert "nobody asked for it: --benchmark-autosave" in said(unsaved)[0]


CUT_SHORT = """
def pytest_runtest_logfinish(nodeid):
    if "test_speed" in nodeid:
        raise KeyboardInterrupt
"""


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [((), pytest.ExitCode.INTERRUPTED), (("-p", "no:terminal"), pytest.ExitCode.INTERRUPTED)],
    ids=["ctrl-c", "without-a-terminal"],
)
def test_a_session_cut_short_reports_what_it_has(
    suite: EchoSuite, arguments: tuple[str, ...], ends: pytest.ExitCode
) -> None:
    """Ctrl-C after a measured case keeps pytest's exit code, and what was measured is told."""
    suite.write(more=CUT_SHORT)
    result = suite.run_apart("--stack=echo", ONNX, "--serve-report=out", *arguments)
    assert result.ret == ends, result.stdout.str()
    assert "Traceback" not in result.stderr.str()
    assert len(summary(suite)["cases"]) == 1
