"""``servebench baseline``: which saved run others are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

import click

from pytest_servebench.cli.complaining import complaining
from pytest_servebench.clock import utc_now_text
from pytest_servebench.comparison.baselines import (
    DEFAULT_NAME,
    FOLDER,
    PROMOTE,
    Baseline,
    BaselineStore,
)
from pytest_servebench.comparison.figures import FIGURES
from pytest_servebench.comparison.promoting import baseline_of, doubts_of
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.saved_runs import STORAGE, as_run, described, find_run
from pytest_servebench.errors import PlanError

P = ParamSpec("P")
T = TypeVar("T")
_SHOWN = ("p50", "p95", "throughput")
_DOUBTS = 12
"""Doubts that are told; of more, how many."""


def _dir_option(command: Callable[P, T]) -> Callable[P, T]:
    return click.option(
        "--dir",
        "folder",
        default=FOLDER,
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Where the baselines lie.",
    )(command)


@click.group()
def baseline() -> None:
    """Promote a saved run to a baseline, and look after baselines."""


@baseline.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--as", "name", default=DEFAULT_NAME, show_default=True, metavar="NAME", help="What it is called."
)
@click.option("--replace", is_flag=True, help="Overwrite the baseline of this name.")
@click.option("--force", is_flag=True, help="Take a run that should not judge others.")
@click.option(
    "--storage",
    default=STORAGE,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where pytest-benchmark saves runs.",
)
@_dir_option
@complaining
def promote(
    *, runs: tuple[str, ...], name: str, replace: bool, force: bool, storage: Path, folder: Path
) -> None:
    """Make a saved run what others are compared with.

    RUN is a file that pytest-benchmark saved, a folder or a glob of them, a number in its storage (0001),
    or a baseline. Several are taken together: each adds its repeats.
    """
    store = BaselineStore(folder)
    before = _before(store, name, replace=replace)
    found = [find_run(word, baselines_dir=folder, storage=storage) for word in runs]
    made = baseline_of(found, name=name, promoted=utc_now_text())
    _object(doubts_of(made.records), force=force)
    path = store.write(made, replace=replace)
    click.echo(f"promoted: {described(as_run(made, path))}")
    if before:
        click.echo(f"replaces: {before}")
    click.echo(f"file: {path} ({path.stat().st_size / 1024:.0f} KB)")
    _tell_origin(made)


@baseline.command()
@click.argument("name", default=DEFAULT_NAME)
@_dir_option
@complaining
def show(*, name: str, folder: Path) -> None:
    """Show a baseline: where it is from, on what it was measured, and its figures."""
    store = BaselineStore(folder)
    known = store.read(name)
    click.echo(f"baseline: {described(as_run(known, store.path(name)))}")
    _tell_origin(known)
    for case, replicates in replicates_of(known.records).items():
        click.echo(f"{case}: {', '.join(_figures(replicates))}")


@baseline.command(name="list")
@_dir_option
@complaining
def list_(*, folder: Path) -> None:
    """List the baselines."""
    store = BaselineStore(folder)
    for name in store.names():
        click.echo(_told(store, name))
    if not store.names():
        click.echo(f"no baselines in {folder}; promote a saved run: {PROMOTE}")


@baseline.command()
@click.argument("name")
@_dir_option
@complaining
def drop(*, name: str, folder: Path) -> None:
    """Remove a baseline."""
    click.echo(f"dropped: {BaselineStore(folder).drop(name)}")


def _before(store: BaselineStore, name: str, *, replace: bool) -> str:
    """Return what a promotion replaces; raises `PlanError` where nobody said that it may."""
    if not store.has(name):
        return ""
    if not replace:
        raise PlanError(
            f"there is a baseline {name} already",
            where=str(store.path(name)),
            seen=_told(store, name),
            next_step="give --replace to promote over it, or another name with --as",
        )
    return _told(store, name)


def _told(store: BaselineStore, name: str) -> str:
    """Return a baseline in a line; of one that cannot be read, why."""
    try:
        return described(as_run(store.read(name), store.path(name)))
    except PlanError as error:
        return f"{name} ({error.what}: {error.seen})"


def _object(doubts: Sequence[str], *, force: bool) -> None:
    """Say what speaks against a baseline; raises `PlanError` unless it shall be made all the same."""
    more = [f"and {len(doubts) - _DOUBTS} more"] if len(doubts) > _DOUBTS else []
    shown = [*doubts[:_DOUBTS], *more]
    if not force and doubts:
        raise PlanError(
            "this run should not judge others",
            seen="\n    ".join(shown),
            next_step="measure again, or give --force: these cases then make every comparison inconclusive",
        )
    for doubt in shown:
        click.echo(f"warning: {doubt}")


def _tell_origin(known: Baseline) -> None:
    for run in known.runs:
        click.echo(f"from: {run.get('file')}, measured {run.get('started')}, run {run.get('run_id')}")
    for fact, values in known.fingerprint.items():
        click.echo(f"{fact}: {' | '.join(values)}")


def _figures(replicates: Sequence[Record]) -> list[str]:
    """Return the medians over a case's replicates, and how many those are."""
    found = []
    for name in _SHOWN:
        values = [value for each in replicates if (value := FIGURES[name].of(each)) is not None]
        text = f"{median(values):.4g} {FIGURES[name].unit}" if values else "n/a"
        found.append(f"{name} {text}")
    count = len(replicates)
    return [*found, f"{count} repeat{'s' * (count > 1)}"]
