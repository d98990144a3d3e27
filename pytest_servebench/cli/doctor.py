"""``servebench doctor``: what would run here, why not the rest, and what mends it."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_servebench.cli.complaining import complaining
from pytest_servebench.cli.showing import screen, show
from pytest_servebench.doctor.judging import checkup_of
from pytest_servebench.doctor.look import look
from pytest_servebench.doctor.serving import AUTO, Question, check_question
from pytest_servebench.folders.shipped import suite_from
from pytest_servebench.options.placement import LAUNCHERS
from pytest_servebench.reports.doctor import doctor_json, doctor_lines
from pytest_servebench.stacks import built_in_stacks


@click.command()
@click.option(
    "--stack",
    default="all",
    show_default=True,
    metavar="NAME[,NAME]|all|available",
    help="What shall be able to run, as for pytest.",
)
@click.option(
    "--launcher",
    default=AUTO,
    show_default=True,
    metavar="|".join(LAUNCHERS),
    help="What brings the stacks up, as pytest's --serve-launcher.",
)
@click.option(
    "--device",
    default=AUTO,
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="What computes, as pytest's --serve-device.",
)
@click.option("--no-noise", is_flag=True, help="Leave out the second in which this CPU's noise is measured.")
@click.option("--json", "as_json", is_flag=True, help="For programs; docs/doctor.md has the shape.")
@complaining
def doctor(*, stack: str, launcher: str, device: str, no_noise: bool, as_json: bool) -> None:
    """Tell what would run here, why not the rest, and what mends it.

    The exit code is 0 when what is asked for can run, else 1. Nothing is started, pulled or changed.
    """
    question = Question(stack=stack, launcher=launcher, device=device, suite=suite_from(Path.cwd()))
    offered = {each.name: each for each in built_in_stacks()}
    check_question(question, offered)
    checkup = checkup_of(question, look(offered, noise=not no_noise), offered)
    if as_json:
        show(doctor_json(checkup))
    else:
        shown = screen(into_file=False)
        lines = doctor_lines(checkup, width=shown.width, colour=shown.colour, encoding=shown.encoding)
        show("\n".join(lines) + "\n")
    if not checkup.outcome.can_run:
        click.get_current_context().exit(1)
