"""Options through pytest itself: help, the three places and their order, and errors as usage errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.options.option import OPTIONS

ROOT = str(Path(__file__).parents[2])

# Stands in for the plugin: registers the options, makes the plan, prints it.
CONFTEST = f"""
import sys
sys.path.insert(0, {ROOT!r})
import pytest
from pytest_servebench.errors import ServebenchError
from pytest_servebench.options.door import add_options, make_plan
from pytest_servebench.options.placement import Surroundings
from tests.offered_stack import THREE

def pytest_addoption(parser):
    add_options(parser)

def pytest_configure(config):
    try:
        config.servebench_plan = make_plan(config, THREE, Surroundings(logical_cores=2))
    except ServebenchError as error:
        raise pytest.UsageError(str(error)) from error

def pytest_report_header(config):
    plan = config.servebench_plan
    return [f"{{name}}={{getattr(plan, name)}}" for name in plan.__dataclass_fields__]
"""


@pytest.fixture(autouse=True)
def _stand_in(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Return pytest's run without the servebench plugin that may be installed."""
    return pytester.runpytest_inprocess("-p", "no:servebench", "-p", "no:cacheprovider", *arguments)


def test_help_shows_every_option(pytester: pytest.Pytester) -> None:
    """``pytest --help`` is where a person looks."""
    text = run(pytester, "--help").stdout.str()
    for option in OPTIONS:
        assert option.flag in text
        assert option.ini in text
    assert "NAME[,NAME]|NAME=URL|all|available" in text


def test_the_command_line_reaches_the_plan(pytester: pytest.Pytester) -> None:
    """``--stack`` may be given several times, switches need no value."""
    run(
        pytester,
        "--stack=triton",
        "--stack=fastapi",
        "--serve-batch-size=1,16",
        "--serve-quick",
    ).stdout.fnmatch_lines(
        ["stacks=('triton', 'fastapi')", "batch_sizes=(1, 16)", "duration_s=2.0", "quick=True"],
    )


def test_without_options_there_are_no_stacks(pytester: pytest.Pytester) -> None:
    """A project that merely has the plugin installed measures nothing."""
    run(pytester).stdout.fnmatch_lines(["stacks=()", "settings={}"])


def test_the_line_wins_over_the_table_and_the_table_over_ini(pytester: pytest.Pytester) -> None:
    """One order for all options."""
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        serve_duration = "11"
        serve_warmup = "12"
        serve_concurrency = "13"
        serve_quick = "true"

        [tool.servebench]
        duration = "21s"
        warmup = 22
        stack = ["triton"]
        """,
    )
    run(pytester, "--serve-duration=31", "--no-serve-quick").stdout.fnmatch_lines(
        ["stacks=('triton',)", "duration_s=31.0", "warmup_s=22.0", "concurrency=13", "quick=False"],
    )


def test_an_ini_file_gives_options_too(pytester: pytest.Pytester) -> None:
    """``pytest.ini`` works as pyproject.toml does."""
    pytester.makeini("[pytest]\nserve_stack = fastapi,triton\nserve_require_thresholds = yes\n")
    run(pytester).stdout.fnmatch_lines(["stacks=('fastapi', 'triton')", "require_thresholds=True"])


def test_a_wrong_value_is_a_usage_error_with_its_place(pytester: pytest.Pytester) -> None:
    """No traceback: what is wrong, where it was written, what is allowed."""
    pytester.makeini("[pytest]\nserve_format = onxx\n")
    result = run(pytester)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --serve-format does not know 'onxx': did you mean onnx?",
            "  where: ini key serve_format in *tox.ini",
            "  next: use one of: onnx, pytorch, tensorrt, all",
        ],
    )
    result.stderr.no_fnmatch_line("*Traceback*")


def test_an_unknown_key_in_the_table_is_a_usage_error_with_its_line(pytester: pytest.Pytester) -> None:
    """A misspelt key is not ignored."""
    path = pytester.makepyprojecttoml("[tool.servebench]\nquick = true\nformats = 'onnx'\n")
    result = run(pytester)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: unknown key 'formats': did you mean format?",
            f"  where: {path}, line 3",
            "  next: allowed here: stack, format, *",
        ],
    )


def test_a_broken_pyproject_that_is_not_ours_is_not_our_business(pytester: pytest.Pytester) -> None:
    """Where pytest itself does not read the file, a project without this plugin's table still runs."""
    pytester.path.joinpath("other.ini").write_text("[pytest]\n", encoding="utf-8")
    for not_ours in (b"[tool\n", "# caf\xe9\n".encode("latin-1")):
        pytester.path.joinpath("pyproject.toml").write_bytes(not_ours)
        run(pytester, "-c", "other.ini").stdout.fnmatch_lines(["stacks=()"])
    pytester.path.joinpath("pyproject.toml").write_text("[tool.servebench\n", encoding="utf-8")
    result = run(pytester, "-c", "other.ini")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *pyproject.toml is not valid TOML", "  seen: *line 1*"])


def test_a_thresholds_file_is_found_from_where_it_was_named(pytester: pytest.Pytester) -> None:
    """The ini file's folder for ini files, the current one for the command line."""
    pytester.makeini("[pytest]\nserve_thresholds = limits.toml\n")
    limits = pytester.path / "limits.toml"
    limits.write_text("", encoding="utf-8")
    inner = pytester.mkdir("inner")
    pytester.makepyfile(**{"inner/test_x": "def test_x(): pass"})
    pytester.chdir()
    run(pytester, str(inner)).stdout.fnmatch_lines([f"thresholds_path={limits}"])
    result = run(pytester, "--serve-thresholds=none.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --serve-thresholds is not a file", f"  seen: {pytester.path}/none.toml"]
    )
