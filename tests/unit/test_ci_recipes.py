"""The CI recipes in docs/examples/ci say what they mean, and ask for no more than they need."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from pytest_servebench.cli import main
from pytest_servebench.options.option import OPTIONS
from tests.doc_blocks import ROOT

FOLDER = ROOT / "docs" / "examples" / "ci"
RECIPES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS = sorted(FOLDER.glob("github-*.yml"))
STOCK = ("--benchmark-", "--junitxml", "--stack")
"""How options of pytest begin that are not ours, and of ours that have no ``serve``."""

each_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[Any, Any]:
    """Return what a recipe says; YAML reads the key ``on`` as true."""
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(recipe, dict)
    return recipe


def steps(path: Path) -> list[Mapping[str, Any]]:
    """Return all steps of a workflow."""
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def scripts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what each step or job of a recipe runs, with the conditions under which it does."""
    recipe = read(path)
    if "jobs" in recipe:
        yield from ((step["run"], str(step.get("if", ""))) for step in steps(path) if "run" in step)
    else:
        for job in (one for one in recipe.values() if isinstance(one, dict)):
            for key in ("before_script", "script", "after_script"):
                yield from ((line, str(job.get("rules", ""))) for line in job.get(key, ()))


def commands(path: Path, program: str) -> list[list[str]]:
    """Return the arguments of every call of a program."""
    text = "\n".join(script for script, _ in scripts(path)).replace("\\\n", " ")
    called = re.findall(rf"(?:^|[\s/(]|-m ){program} ([^)>\n]*)", text, re.MULTILINE)
    return [shlex.split(line) for line in called]


def test_every_recipe_is_looked_at() -> None:
    """There are three workflows and one pipeline of GitLab."""
    assert [path.stem for path in RECIPES] == ["github-ab", "github-cpu", "github-gpu", "gitlab-ci"]


@each_workflow
def test_every_action_is_pinned_by_its_major_version(path: Path) -> None:
    """A branch of somebody else's repository is no version; and all are GitHub's own."""
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert not [one for one in used if not re.fullmatch(r"actions/[a-z-]+(/[a-z-]+)?@v\d+", one)]


@each_workflow
def test_a_workflow_may_only_read_the_repository(path: Path) -> None:
    """The token of a job that runs a pull request's code can write nothing."""
    recipe = read(path)
    assert recipe["permissions"] == {"contents": "read"}
    assert not [job for job in recipe["jobs"].values() if "permissions" in job]
    # With this trigger code of a stranger would run with the repository's own rights.
    assert "pull_request_target" not in recipe[True]


@each_workflow
def test_no_expression_stands_in_a_command(path: Path) -> None:
    """What GitHub puts into a command before the shell reads it could be a stranger's command."""
    assert not [script for script, _ in scripts(path) if "${{" in script]


@each_workflow
def test_a_failure_within_a_pipe_is_seen(path: Path) -> None:
    """GitHub's shell has no pipefail unless it is named: a gate before a pipe would never be red."""
    shells = [job["defaults"]["run"]["shell"] for job in read(path)["jobs"].values()]
    assert set(shells) == {"bash"}


@each_workflow
def test_a_job_ends(path: Path) -> None:
    """A server that hangs costs minutes, not GitHub's six hours."""
    assert all(job["timeout-minutes"] <= 60 for job in read(path)["jobs"].values())


@each_recipe
def test_nothing_promotes_by_itself(path: Path) -> None:
    """A baseline changes by hand only: by a switch of the workflow, or a job that is started by hand."""
    for script, condition in scripts(path):
        if "baseline promote" in script:
            assert condition == "${{ inputs.promote }}" or "'when': 'manual'" in condition
            assert 'test "$GITHUB_REF_NAME" = main\n' in script or "== $CI_DEFAULT_BRANCH" in condition


@each_recipe
def test_the_options_are_options(path: Path) -> None:
    """Every option of pytest in a recipe is one of ours, of pytest-benchmark or of pytest."""
    ours = {option.flag for option in OPTIONS}
    asked = [word.partition("=")[0] for line in commands(path, "pytest") for word in line]
    assert asked
    assert not [word for word in asked if word not in ours and not word.startswith(STOCK)]


@each_recipe
def test_the_commands_are_commands(path: Path) -> None:
    """Every call of ``servebench`` in a recipe is understood."""
    called = commands(path, "servebench")
    assert called
    for program, *words in called:
        understood(program, words)


def understood(name: str, words: list[str]) -> None:
    """Fail unless the command line is one."""
    command = main.get_command(click.Context(main), name)
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
    assert command is not None, name
    command.make_context(name, words)


@each_recipe
def test_a_recipe_names_no_machine(path: Path) -> None:
    """Paths are relative, and hosts those that everybody has."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"https?://([\w.-]+)", text) in ([], ["download.pytorch.org"])
    assert not re.search(r"(?<![\w.}])/(home|root|work|tmp|opt|mnt|usr)\b", text)
