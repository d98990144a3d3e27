"""``servebench history``: when figures changed, over many saved runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pytest_servebench.cli.complaining import complaining
from pytest_servebench.cli.judging import (
    allow_different_option,
    chosen_figures,
    chosen_limits,
    chosen_to_differ,
    fail_option,
    figures_option,
    inconclusive_option,
    output_option,
)
from pytest_servebench.cli.showing import screen, show, write_bytes
from pytest_servebench.comparison.changes import Severity
from pytest_servebench.comparison.chronicle import read_chronicle
from pytest_servebench.comparison.history import Series, failures, series_of
from pytest_servebench.errors import PlanError
from pytest_servebench.reports.history import history_json, history_lines
from pytest_servebench.reports.history_picture import check_picture, left_out_panels, picture


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...")
@figures_option
@click.option(
    "--format",
    "shape",
    default="table",
    show_default=True,
    type=click.Choice(("table", "json")),
    help="table with charts for a terminal, json for programs.",
)
@output_option("Draw it into this picture, too: .png, .svg or .pdf.")
@fail_option(
    "Limits, as p95:10%; the exit code is 1 when the latest level is worse than the one before by more."
)
@inconclusive_option(
    "With --fail, whether too few runs make the exit code 1, too; auto: where a limited figure could be "
    "judged of no case, fail: of any."
)
@allow_different_option
@complaining
def history(
    *,
    runs: tuple[str, ...],
    figures: str,
    shape: str,
    output: Path | None,
    fail: str | None,
    inconclusive: str,
    allow_different: str,
) -> None:
    """Find when figures changed, over many saved runs.

    RUN is a file that pytest-benchmark saved, a folder with all below it (.benchmarks), or a glob. Runs are
    ordered by when they started; those of another machine, other versions or another load are a series
    of their own.
    """
    if not runs:
        raise PlanError(
            "no run is given",
            next_step="give some: servebench history .benchmarks; pytest --benchmark-autosave fills that",
        )
    limits = chosen_limits(fail) or ()
    if output is not None:
        check_picture(output)
    chronicle = read_chronicle(runs)
    asked = chosen_figures(figures)
    wanted = (*asked, *(limit.figure for limit in limits)) if asked else ()
    series = series_of(
        chronicle.runs, figures=wanted, allowed=chosen_to_differ(allow_different), limits=limits
    )
    if shape == "json":
        show(history_json(chronicle, series))
    else:
        shown = screen(into_file=False)
        lines = history_lines(
            chronicle, series, width=shown.width, colour=shown.colour, encoding=shown.encoding
        )
        show("\n".join(lines) + "\n")
    if output is not None:
        _draw(output, series)
    _judge(failures(series, limits, Severity(inconclusive), runs=chronicle.runs))


def _draw(output: Path, series: Sequence[Series]) -> None:
    write_bytes(output, picture(series, output.suffix))
    for line in left_out_panels(series):
        click.echo(line, err=True)


def _judge(found: Sequence[str]) -> None:
    """Say what makes the exit code 1, and end with it."""
    for line in found:
        click.echo(line, err=True)
    if found:
        click.get_current_context().exit(1)
