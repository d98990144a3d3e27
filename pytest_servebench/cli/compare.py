"""``servebench compare``: saved runs beside each other, with verdicts."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_servebench.cli.complaining import complaining
from pytest_servebench.cli.judging import (
    allow_different_option,
    baselines_option,
    chosen_figures,
    chosen_limits,
    chosen_to_differ,
    fail_option,
    figures_option,
    inconclusive_option,
    output_option,
)
from pytest_servebench.cli.showing import Screen, screen, show, write
from pytest_servebench.comparison.changes import Severity
from pytest_servebench.comparison.saved_runs import find_run
from pytest_servebench.comparison.side_by_side import SideBySide, side_by_side
from pytest_servebench.errors import PlanError
from pytest_servebench.reports.comparison import comparison_lines
from pytest_servebench.reports.comparison_data import comparison_csv, comparison_json
from pytest_servebench.reports.comparison_markdown import comparison_markdown
from pytest_servebench.reports.comparison_words import headline

FORMATS = ("table", "markdown", "csv", "json")


@click.command()
@click.argument("runs", nargs=-1, metavar="A B [C]...")
@figures_option
@click.option(
    "--format",
    "shape",
    default="table",
    show_default=True,
    type=click.Choice(FORMATS),
    help="table for a terminal, markdown for a job's summary, csv and json for programs.",
)
@output_option("Write it into this file; only the counts are printed then.")
@fail_option(
    "Limits, as p95:10%,throughput:5%; a regression beyond them makes the exit code 1. Without it verdicts "
    "go by the usual ones, and the exit code by nothing."
)
@inconclusive_option("With --fail, which doubts make the exit code 1, too; auto: all but noise.")
@allow_different_option
@baselines_option
@complaining
def compare(
    *,
    runs: tuple[str, ...],
    figures: str,
    shape: str,
    output: Path | None,
    fail: str | None,
    inconclusive: str,
    allow_different: str,
    baselines: Path,
) -> None:
    """Compare saved runs, figure by figure, with verdicts.

    A is the baseline of all others. Each is a promoted baseline, a file that pytest-benchmark saved, a folder
    of such files, or several of these with commas between, whose repeats are read as one run's.
    """
    if not runs:
        raise PlanError(
            "no run is given",
            next_step="give two or more, the baseline first: servebench compare BEFORE.json AFTER.json",
        )
    side = side_by_side(
        [find_run(word, baselines_dir=baselines) for word in runs],
        limits=chosen_limits(fail),
        figures=chosen_figures(figures),
        allowed=chosen_to_differ(allow_different),
    )
    text = _text(side, shape, screen(into_file=output is not None))
    if output is None:
        show(text)
    else:
        show(f"{headline(side)}\n")
        write(output, text)
    if fail is not None and side.failing(Severity(inconclusive)):
        click.get_current_context().exit(1)


def _text(side: SideBySide, shape: str, shown: Screen) -> str:
    if shape == "table":
        lines = comparison_lines(side, width=shown.width, colour=shown.colour, encoding=shown.encoding)
        return "\n".join(lines) + "\n"
    return {"markdown": comparison_markdown, "csv": comparison_csv, "json": comparison_json}[shape](side)
