"""Reads many saved runs, in the order in which they were measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.comparison.saved_runs import SavedRun, is_there, read_run
from pytest_servebench.comparison.trimmed import trimmed
from pytest_servebench.errors import PlanError
from pytest_servebench.printable import printable_text

_COMMIT_DIGITS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run in time."""

    name: str
    path: Path
    started: datetime
    """In UTC."""
    records: tuple[Record, ...]
    """Trimmed, see `trimmed`."""
    commit: str = ""
    """``0123456789+ (main)``, + with uncommitted changes; empty where git knew none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronicle:
    """Runs in the order of time, and the files that are none."""

    runs: tuple[Measured, ...]
    left_out: tuple[str, ...] = ()
    """Of each file in a folder that could not be used: which, and why."""


def read_chronicle(words: Sequence[str]) -> Chronicle:
    """Return the runs in files, in folders with all below them, and in globs, each once.

    A file that was named must be a run; among those of a folder or a glob others are left out, and
    said. Raises `PlanError` where nothing is found.
    """
    runs: dict[str, Measured] = {}
    left_out: list[str] = []
    for path, is_named in _files(words):
        try:
            run = _measured(path)
        except PlanError as error:
            if is_named:
                raise
            left_out.append(f"{path}: {error.what}{f' ({error.seen})' if error.seen else ''}")
            continue
        first = runs.setdefault(run[0], run[1])
        if first is not run[1]:
            left_out.append(f"{path}: the same run as {first.path}")
    if not runs:
        raise PlanError(
            "there is no saved run",
            where=", ".join(words),
            seen=f"{len(left_out)} other JSON files" if left_out else "no JSON file",
            next_step="save runs with --benchmark-autosave, and name their folder: .benchmarks",
        )
    return Chronicle(
        runs=tuple(sorted(runs.values(), key=lambda run: (run.started, run.name))),
        left_out=tuple(map(printable_text, left_out)),
    )


def _files(words: Iterable[str]) -> Iterator[tuple[Path, bool]]:
    """Yield each file once, and whether it was itself named."""
    seen: set[Path] = set()
    for word in words:
        for path, is_named in _meant(word):
            if (whole := absolute(path)) not in seen:
                seen.add(whole)
                yield path, is_named


def _meant(word: str) -> Iterator[tuple[Path, bool]]:
    path = Path(word)
    if not word.strip():
        raise PlanError("a run has no name", seen=repr(word), next_step="give files, folders or globs")
    if is_there(path) and path.is_dir():
        yield from ((each, False) for each in sorted(path.rglob("*.json")))
    elif is_there(path) or not has_magic(word):
        yield path, True
    else:
        for each in map(Path, sorted(glob(word, recursive=True))):  # noqa: PTH207 (an absolute one is fine, too)
            yield from _meant(str(each)) if each.is_dir() else iter([(each, False)])


def _measured(path: Path) -> tuple[str, Measured]:
    """Return a run, and by what it is known to be the same in two files."""
    run = read_run(path)
    facts = run.facts[0] if run.facts else {}
    started = instant(facts.get("started"))
    if started is None:
        raise PlanError(
            "this run does not say when it was measured",
            where=str(path),
            next_step="leave it out, or measure again with this version",
        )
    known = Measured(
        name=printable_text(path.stem),
        path=path,
        started=started,
        records=tuple(trimmed(record) for record in run.records),
        commit=commit_text(run),
    )
    return str(facts.get("run_id") or path.resolve()), known


def absolute(path: Path) -> Path:
    """Return by what a file is known, however it is called; raises `PlanError` for what can be none."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # the last is of links in a circle
        raise PlanError(
            "there is no saved run",
            where=str(path),
            seen=str(error),
            next_step="give files, folders or globs",
        ) from error


def instant(text: object) -> datetime | None:
    """Return the instant that ISO 8601 text names, in UTC where it names no zone; None for other text."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    zoned = found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    return zoned.astimezone(timezone.utc)


def commit_text(run: SavedRun) -> str:
    """Return ``0123456789+ (main)``; empty where it is not known, or the run's files are of several."""
    found = {
        (str(commit["id"]), _branch(commit), bool(commit.get("dirty")))
        for facts in run.facts
        if isinstance(commit := facts.get("commit"), dict) and commit.get("id") not in {None, "unversioned"}
    }
    if len(found) != 1:
        return ""
    ((number, branch, dirty),) = found
    return f"{number[:_COMMIT_DIGITS]}{'+' * dirty}{f' ({branch})' if branch else ''}"


def _branch(commit: Mapping[str, Any]) -> str:
    """Return a commit's branch, where pytest-benchmark knew one: CI checks commits out, not branches."""
    branch = str(commit.get("branch") or "")
    return "" if branch.startswith("(") else branch
