"""The list of commands, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pytest_servebench.cli import COMMANDS, main

HEAVY = ("docker", "torch", "scipy", "numpy", "matplotlib", "ruptures", "httpx", "rich", "pytest", "onnx")


def loaded_after(*words: str) -> set[str]:
    """Return which heavy packages a process has imported that ran the command."""
    script = (
        "import sys\nfrom pytest_servebench.cli import main\n"
        f"main({list(words)!r}, standalone_mode=False)\n"
        f"print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str) -> None:
    """The summary in the list of commands is the first sentence of the command's own help."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name].summary == command.get_short_help_str(200)


def test_help_lists_every_command() -> None:
    """The list has each command, in order of the alphabet, with its summary."""
    done = CliRunner().invoke(main, ["--help"], env={"COLUMNS": "80"})
    listed = [line.split()[0] for line in done.output.split("Commands:")[1].splitlines() if line.strip()]
    names = [name for name in listed if name in COMMANDS]
    assert names == sorted(COMMANDS)


def test_an_unknown_command_is_refused() -> None:
    """A word that is no command is a usage error that names it, and the nearest command."""
    done = CliRunner().invoke(main, ["compere"])
    assert done.exit_code == 2
    assert "No such command 'compere': did you mean compare?" in done.output


def test_help_imports_nothing_heavy() -> None:
    """``servebench --help`` waits for no library but click."""
    assert loaded_after("--help") == set()


@pytest.mark.parametrize("command", ["compare", "history", "report"])
def test_help_of_a_comparison_needs_no_tests(command: str) -> None:
    """Statistics, engines and pictures are imported when there is something to compute or to draw."""
    heavy = {"docker", "torch", "scipy", "matplotlib", "ruptures", "httpx", "pytest", "onnx"}
    assert loaded_after(command, "--help") & heavy == set()
