"""``servebench report``: the report of saved runs as a folder, and the schemas of what it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from pytest_servebench.cli.complaining import complaining
from pytest_servebench.cli.judging import baselines_option
from pytest_servebench.cli.showing import show
from pytest_servebench.comparison.saved_runs import SavedRun, find_run
from pytest_servebench.errors import PlanError
from pytest_servebench.schemas import SCHEMAS, schema_text
from pytest_servebench.words import listed

FOLDER = "servebench-report"


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option(
    "--output",
    default=FOLDER,
    show_default=True,
    type=click.Path(path_type=Path),
    help="The folder; it is made, and files of an earlier report in it are replaced.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="What the report calls a run; given once for each RUN, in their order.",
)
@click.option(
    "--schema",
    type=click.Choice(tuple(SCHEMAS)),
    help="Print the JSON Schema of a saved record or of summary.json, and write nothing.",
)
@baselines_option
@complaining
def report(
    *, runs: tuple[str, ...], output: Path, names: tuple[str, ...], schema: str | None, baselines: Path
) -> None:
    """Write the report of saved runs into a folder, side by side.

    RUN is a file that pytest-benchmark saved, a folder of such files, its number (0001), a promoted baseline,
    or several of these with commas between, whose repeats are read as one run's.
    """
    if schema is not None:
        show(schema_text(schema))
        return
    if not runs:
        raise PlanError(
            "no run is given",
            next_step="give a saved run: servebench report RUN.json; pytest --benchmark-autosave saves one",
        )
    found = _named([_fitting(find_run(word, baselines_dir=baselines)) for word in runs], names)
    _write(found, output)


def _fitting(run: SavedRun) -> SavedRun:
    """Return a run that a report can tell; raises `PlanError` for one that somebody has edited badly."""
    from pytest_servebench.reports.misfits import misfit_of

    for record in run.records:
        if misfit := misfit_of(record):
            raise PlanError(
                "a record of this run cannot be told",
                where=f"{listed(dict.fromkeys(map(str, run.paths)))}: {record['case']['id']}",
                seen=misfit,
                next_step="mend or remove that record, or measure anew; servebench report --schema record"
                " prints what a record has",
            )
    return run


def _named(runs: list[SavedRun], names: tuple[str, ...]) -> list[SavedRun]:
    if not names:
        return runs
    if len(names) != len(runs):
        raise PlanError(
            "--name is given once for each run, or not at all",
            seen=f"{len(names)} for {len(runs)} runs",
            next_step="give as many as runs, in their order",
        )
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def _write(runs: list[SavedRun], output: Path) -> None:
    from pytest_servebench.reports.folder import write_report

    try:
        written = write_report(runs, output)
    except OSError as error:
        raise PlanError(
            "the report cannot be written",
            where=str(output),
            seen=str(error),
            next_step="give another folder with --output",
        ) from error
    for line in written.left_out:
        click.echo(line, err=True)
    for path in reversed(written.paths):
        show(f"written: {click.format_filename(path)}\n")
