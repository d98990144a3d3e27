"""``servebench compare`` and ``history``, and the stock command, on files that real sessions saved."""

from __future__ import annotations

import csv
import json
import re
import sys

import pytest
from click.testing import CliRunner, Result

from pytest_servebench.cli import main
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

FAST = "Echo(faults=Faults(delay_s=0.02)), ControlledEcho()"
SLOW = "Echo(faults=Faults(delay_s=0.06)), ControlledEcho()"
CASE = "test_it.py::test_speed[echo-onnx-tensor-http-b1-i1-c2]"
OTHER = "test_it.py::test_speed[controlled-onnx-tensor-http-b1-i1-c2]"
FOUR = "--serve-repeats=4"
WIDE = "--fail=p50:80%,throughput:45%"
_SAVED: dict[str, str] = {}
"""What a session with these stacks saved: each takes seconds, and is measured once."""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite with three saved runs: a fast and a slow server, and the fast one without repeats."""
    suite = echo_suite(pytester, monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    runs = (("fast", FAST, ("--stack=echo,controlled", FOUR)), ("slow", SLOW, ("--stack=echo", FOUR)))
    for name, stacks, options in (*runs, ("single", FAST, ("--stack=echo",))):
        path = suite.pytester.path / f"{name}.json"
        if name not in _SAVED:
            suite.write(stacks=stacks)
            result = suite.run(ONNX, *options, f"--benchmark-json={path}")
            assert result.ret == 0, result.stdout.str()
            _SAVED[name] = path.read_text(encoding="utf-8")
        path.write_text(_SAVED[name], encoding="utf-8")
    return suite


def servebench(*words: str) -> Result:
    """Call the command in the suite's folder."""
    return CliRunner().invoke(main, list(words))


def test_a_slower_server_is_a_regression_in_every_format(suite: EchoSuite) -> None:
    """The change is found in what pytest saved; a case of one run only is listed; the exit code is 1."""
    done = servebench("compare", "fast.json", "slow.json", WIDE, "--inconclusive=warn")
    assert done.exit_code == 1, done.output
    assert re.search(
        rf"^regression: {re.escape(CASE)}: p50 .* 4 v 4 repeats, p 0.014$", done.output, re.MULTILINE
    )
    assert f"\nonly in A: {OTHER}\n" in done.output
    assert done.output.endswith("\n2 regressions, 2 inconclusive\n")
    text = servebench("compare", "fast.json", "slow.json", WIDE, "--format=markdown").output
    assert text.startswith("**2 regressions, 2 inconclusive**\n")
    rows = list(
        csv.DictReader(
            servebench("compare", "fast.json", "slow.json", WIDE, "--format=csv").output.splitlines()
        )
    )
    found = {row["figure"] for row in rows if row["verdict"] == "regression"}
    assert found == {"p50", "throughput"}
    assert {row["replicates"] for row in rows if row["case"] == CASE} == {"4"}


def test_a_run_against_itself_passes(suite: EchoSuite) -> None:
    """The same figures are no change, and nothing is inconclusive."""
    done = servebench("compare", "fast.json", "fast.json", "--fail=p95:5%,throughput:5%")
    assert done.exit_code == 0, done.output
    assert done.output.endswith("\n4 passed\n")


def test_runs_without_repeats_show_their_numbers(suite: EchoSuite) -> None:
    """A file of one repeat is compared with itself: every number is there, and the verdict is too few."""
    content = json.loads(servebench("compare", "single.json", "single.json", "--format=json").output)
    limited = [row for row in content["rows"] if row["run"] == "B" and row["limit_percent"] is not None]
    assert [(row["figure"], row["doubt"]) for row in limited] == [
        ("p95", "too_few"),
        ("throughput", "too_few"),
    ]
    assert all(row["median"] > 0 and row["change_percent"] == 0 for row in limited)


def test_the_measured_memory_is_a_figure(suite: EchoSuite) -> None:
    """Memory is read from the records as they are saved, and what no run has is n/a."""
    output = servebench("compare", "fast.json", "slow.json").output
    assert re.search(r"^memory GB +0\.\d+ +0\.\d+", output, re.MULTILINE)
    assert "energy" in output.split("n/a in every run: ")[1].split("\n")[0]


def test_a_history_of_saved_runs(suite: EchoSuite) -> None:
    """Runs are ordered by when they started, replicates are one point, and three runs are too few."""
    content = json.loads(servebench("history", ".", "--format=json", "--figures=p50").output)
    assert [run["name"] for run in content["runs"]] == ["fast", "slow", "single"]
    points = {each["case"]: each["points"] for each in content["series"]}
    assert [point["replicates"] for point in points[CASE]] == [4, 4, 1]
    assert points[CASE][1]["median"] > 1.5 * points[CASE][0]["median"]
    assert "not judged: 1 series with 3 runs" in servebench("history", ".", "--figures=p50").output


def test_stock_compare_reads_files_with_repeats(suite: EchoSuite) -> None:
    """``pytest-benchmark compare`` shows every repeat's p95 and throughput of the same two files."""
    result = suite.pytester.run(
        sys.executable, "-m", "pytest_benchmark", "compare", "fast.json", "slow.json", "--columns=median,ops"
    )
    assert result.ret == 0
    text = result.stdout.str()
    for name in ("test_speed", "test_speed:p95", "test_speed:request_interval"):
        for repeat in range(1, 5):
            assert f"{name}[echo-onnx-tensor-http-b1-i1-c2-r{repeat}]" in text
    between = suite.pytester.run(
        sys.executable,
        "-m",
        "pytest_benchmark",
        "compare",
        "fast.json",
        "slow.json",
        "-k",
        "p95",
        "--between=median",
    )
    assert between.ret == 0
    told = between.stdout.str()
    assert re.search(r"test_speed:p95\[echo-onnx-tensor-http-b1-i1-c2-r1\].*[+-]\d+\.\d%", told)
