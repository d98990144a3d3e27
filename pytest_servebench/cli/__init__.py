"""``servebench``: keeps stacks running, and compares what was measured."""

from __future__ import annotations

import os

import click

from pytest_servebench.cli.baseline import baseline
from pytest_servebench.cli.compare import compare
from pytest_servebench.cli.history import history
from pytest_servebench.cli.stacks import down, logs, ps, up
from pytest_servebench.compose.tools import Tools


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-servebench")
@click.pass_context
def main(context: click.Context) -> None:
    """Keep model-serving stacks running in containers, and compare the runs that pytest has saved.

    Running ones are measured by pytest: `up` prints the command.
    """
    context.obj = context.obj or Tools(environment=os.environ, say=click.echo)


for _command in (up, down, ps, logs, compare, baseline, history):
    main.add_command(_command)
