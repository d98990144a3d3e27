"""Options that say by what saved runs are judged, the same for every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from pytest_servebench.comparison.baselines import FOLDER
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeLimit, Severity
from pytest_servebench.comparison.fail_limits import limits_text, parse_limits
from pytest_servebench.comparison.figures import FIGURES, figure_named
from pytest_servebench.comparison.fingerprint import parse_allowed
from pytest_servebench.words import listed

P = ParamSpec("P")
T = TypeVar("T")
COMMAND_LINE = "the command line"
DEFAULT_LIMITS_TEXT = limits_text(DEFAULT_LIMITS)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words between commas."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def chosen_figures(text: str) -> tuple[str, ...]:
    """Return the figures that were asked for; raises `PlanError` for one that does not exist."""
    return tuple(figure_named(name, what="--figures").name for name in words_of(text))


def chosen_limits(text: str | None) -> tuple[ChangeLimit, ...] | None:
    """Return the limits of ``--fail``; None: it was not given. Raises `PlanError`."""
    return None if text is None else parse_limits(text, flag="--fail", where=COMMAND_LINE)


def chosen_to_differ(text: str) -> frozenset[str]:
    """Return the facts of ``--allow-different``; raises `PlanError`."""
    return parse_allowed(text, flag="--allow-different", where=COMMAND_LINE) if text else frozenset()


figures_option = click.option(
    "--figures",
    default="",
    metavar="NAME[,NAME]",
    help=f"What is shown, of {listed(FIGURES)}; all, if not given.",
)
allow_different_option = click.option(
    "--allow-different",
    default="",
    metavar="NAME[,NAME]|all",
    help="Facts of machine, versions or load that may differ, as the doubt names them.",
)
baselines_option = click.option(
    "--baselines",
    default=FOLDER,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of baselines that can be called by name.",
)


def fail_option(meaning: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return the option of limits that make the exit code 1; alone it stands for the usual ones."""
    return click.option(
        "--fail",
        default=None,
        is_flag=False,
        flag_value=DEFAULT_LIMITS_TEXT,
        metavar="[FIGURE:SHARE%]",
        help=f"{meaning} Alone, after the runs: {DEFAULT_LIMITS_TEXT}.",
    )


def inconclusive_option(meaning: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return the option that says what a doubt does to the exit code."""
    return click.option(
        "--inconclusive",
        default=str(Severity.AUTO),
        show_default=True,
        type=click.Choice([str(each) for each in Severity]),
        help=meaning,
    )


def output_option(meaning: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return the option that names a file to write."""
    return click.option(
        "--output", default=None, type=click.Path(dir_okay=False, path_type=Path), help=meaning
    )
