"""``servebench``: tells what can run here, keeps stacks running, and compares what was measured."""

from __future__ import annotations

import click

from pytest_servebench.cli.lazy import LazyCommand, LazyGroup

_ROOM = "pytest_servebench.cli"
COMMANDS = {
    "doctor": LazyCommand(
        f"{_ROOM}.doctor", "Tell what would run here, why not the rest, and what mends it."
    ),
    "up": LazyCommand(f"{_ROOM}.stacks", "Start stacks in containers and wait until they answer."),
    "down": LazyCommand(f"{_ROOM}.stacks", "End what `up` started: its containers and network are removed."),
    "ps": LazyCommand(f"{_ROOM}.stacks", "Show the containers of what is up."),
    "logs": LazyCommand(f"{_ROOM}.stacks", "Show what the containers of STACK, or all, have logged."),
    "compare": LazyCommand(f"{_ROOM}.compare", "Compare saved runs, figure by figure, with verdicts."),
    "baseline": LazyCommand(
        f"{_ROOM}.baseline", "Promote a saved run to a baseline, and look after baselines."
    ),
    "report": LazyCommand(f"{_ROOM}.report", "Write the report of saved runs into a folder, side by side."),
    "history": LazyCommand(f"{_ROOM}.history", "Find when figures changed, over many saved runs."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-servebench")
def main() -> None:
    """Look after what pytest measures: this machine before, saved runs after, stacks that stay up.

    Measuring is pytest's: pytest --stack=NAME. Begin with `servebench doctor`.
    """
