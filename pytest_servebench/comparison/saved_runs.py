"""Reads runs that pytest-benchmark has saved, and baselines, by whatever a person calls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from itertools import chain
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from pytest_servebench.comparison.baselines import (
    PROMOTE,
    Baseline,
    BaselineStore,
    is_baseline,
    is_name,
    parse_baseline,
)
from pytest_servebench.comparison.json_files import read_json
from pytest_servebench.comparison.record_shape import SCHEMA, wrong_shape
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.errors import PlanError
from pytest_servebench.printable import printable_text
from pytest_servebench.words import did_you_mean, listed

STORAGE = Path(".benchmarks")
"""Where pytest-benchmark saves runs, in a folder for each kind of machine."""
_HOW_TO_MEASURE = "save one in which a stack was measured: pytest --stack=NAME --benchmark-json=FILE"
_HOW_TO_SAVE = "save one with --benchmark-json=FILE, --benchmark-save=NAME or --benchmark-autosave"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """The records of one run, or of several that are read as one."""

    name: str
    """What a table calls it."""
    records: tuple[Record, ...]
    facts: tuple[Mapping[str, Any], ...] = ()
    """Of each file: ``run_id``, ``started``, ``plan``, ``machine``; of a baseline ``file``, too.

    Of a run also ``commit``, as pytest-benchmark has it.
    """
    paths: tuple[Path, ...] = ()
    promoted: str | None = None
    """When it became a baseline; None: it is none."""


def find_run(word: str, *, baselines_dir: Path, storage: Path = STORAGE) -> SavedRun:
    """Return the run that a person means; raises `PlanError`.

    ``word`` is a baseline's name in ``baselines_dir``; a file, a folder, or a glob of files; a number or a
    name in pytest-benchmark's ``storage``, as ``pytest-benchmark compare`` takes it (``0001``); or several
    of these with commas between, whose replicates are read as one run's. A baseline comes first: a file
    of the same name is meant by ``./NAME``.
    """
    words = [part.strip() for part in word.split(",")]
    if "" in words:
        raise PlanError("a run has no name", seen=repr(word), next_step="give a file, a folder or a baseline")
    store = BaselineStore(baselines_dir)
    runs = [_find(part, store, storage) for part in words]
    return runs[0] if len(runs) == 1 else _joined(word, runs)


def read_run(path: Path) -> SavedRun:
    """Return the run in a file, or of every such file in a folder; raises `PlanError`.

    A file is one that pytest-benchmark saved, or a baseline's.
    """
    paths = sorted(path.glob("*.json")) if is_there(path) and path.is_dir() else [path]
    if not paths:
        raise PlanError("this folder holds no saved run", where=str(path), next_step=_HOW_TO_SAVE)
    return _joined(printable_text(path.stem), [_read(each) for each in paths])


def find_baseline(word: str, *, baselines_dir: Path) -> SavedRun:
    """Return the baseline of a name, or what the file or folder at a path holds; raises `PlanError`.

    A path is whatever cannot be a name: it has a ``/``, or ends in ``.json``.
    """
    store, path = BaselineStore(baselines_dir), Path(word)
    if is_name(word):
        return as_run(store.read(word), store.path(word))
    if not is_there(path):
        raise PlanError(
            f"there is neither a baseline nor a file {word!r}",
            where=str(baselines_dir),
            seen=f"baselines there: {listed(store.names())}",
            next_step=f"give one of these, or the path of a saved run; or promote one: {PROMOTE}",
        )
    return read_run(path)


def is_there(path: Path) -> bool:
    """Return whether something is at a path; what cannot be one, for its length or a zero in it, is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def as_run(baseline: Baseline, path: Path) -> SavedRun:
    """Return a baseline as a run that it can be compared as."""
    return SavedRun(
        name=baseline.name,
        records=tuple(baseline.records),
        facts=tuple(baseline.runs),
        paths=(path,),
        promoted=baseline.promoted,
    )


def described(run: SavedRun) -> str:
    """Return ``main (promoted 2026-11-20, 5 repeats, 24 cases)``; of a saved run when it was measured."""
    days = sorted({str(fact["started"])[:10] for fact in run.facts if fact.get("started")})
    when = [f"measured {' to '.join(dict.fromkeys((days[0], days[-1])))}"] if days else []
    if run.promoted is not None:
        when = [f"promoted {run.promoted[:10]}"]
    counts = sorted({len(group) for group in replicates_of(run.records).values()})
    repeats = " to ".join(dict.fromkeys((str(counts[0]), str(counts[-1]))))
    cases = len(replicates_of(run.records))
    facts = [
        *when,
        f"{repeats} repeat{'' if repeats == '1' else 's'}",
        f"{cases} case{'s' * (cases > 1)}",
    ]
    return f"{run.name} ({', '.join(facts)})"


def _find(word: str, store: BaselineStore, storage: Path) -> SavedRun:
    if store.has(word):
        return as_run(store.read(word), store.path(word))
    path = Path(word)
    if is_there(path):
        return read_run(path)
    if has_magic(word):
        paths = [Path(each) for each in sorted(glob(word))]  # noqa: PTH207 (an absolute one is fine, too)
        if paths:
            return _joined(word, [read_run(each) for each in paths])
    stored = _in_storage(word, storage)
    if len(stored) > 1 and not has_magic(word):
        raise PlanError(
            f"{word!r} names {len(stored)} saved runs",
            where=str(storage),
            seen=listed(stored),
            next_step="give the path of the one that is meant, or several with commas between",
        )
    if not stored:
        raise _not_found(word, store, storage)
    name = printable_text(stored[0].stem) if len(stored) == 1 else word
    return _joined(name, [_read(each) for each in stored])


def _in_storage(word: str, storage: Path) -> list[Path]:
    """Return the files of pytest-benchmark's storage that begin so, of every kind of machine."""
    parts = Path(word).parts
    if word.endswith(".json") or not 0 < len(parts) <= 2 or Path(word).is_absolute() or ".." in parts:  # noqa: PLR2004 (KIND/NAME)
        return []
    last = f"{parts[-1].rstrip('*')}*.json"
    patterns = [f"{parts[0]}/{last}"] if len(parts) > 1 else [f"*/{last}", last]
    try:
        return sorted(set(chain.from_iterable(storage.glob(pattern) for pattern in patterns)))
    except (OSError, ValueError):  # "a**b" is no pattern
        return []


def _not_found(word: str, store: BaselineStore, storage: Path) -> PlanError:
    names = store.names()
    saved = [path.stem for path in sorted(storage.glob("*/*.json"))]
    near = did_you_mean(word, [*names, *saved]) if is_name(word) else ""
    return PlanError(
        f"no saved run is called {word!r}{near}",
        where=f"files, baselines in {store.folder}, saved runs in {storage}",
        seen=f"baselines: {listed(names)}; saved runs: {listed(saved)}",
        next_step=f"give a file, or one of these; {_HOW_TO_SAVE}",
    )


def _joined(name: str, runs: Sequence[SavedRun]) -> SavedRun:
    """Return several runs as one; raises `PlanError` for different schemas, or for one run given twice."""
    whole = SavedRun(
        name=name,
        records=tuple(chain.from_iterable(run.records for run in runs)),
        facts=tuple(chain.from_iterable(run.facts for run in runs)),
        paths=tuple(chain.from_iterable(run.paths for run in runs)),
    )
    schemas = {record.get("schema") for record in whole.records}
    if len(schemas) > 1:
        raise PlanError(
            "these runs have records of different schemas, which cannot be read as one",
            where=listed(whole.paths),
            seen=listed(sorted(map(str, schemas))),
            next_step="measure anew with one version of pytest-servebench",
        )
    _check_twice(whole)
    return runs[0] if len(runs) == 1 and runs[0].name == name else replace(whole, name=name)


def _check_twice(whole: SavedRun) -> None:
    """Raise `PlanError` for a run that is in two files: its repeats would count as others'."""
    times = Counter(str(fact["run_id"]) for fact in whole.facts if fact.get("run_id"))
    for run_id, count in times.items():
        if count > 1:
            raise PlanError(
                "one run is given twice, and would count as more repeats than were measured",
                where=listed(dict.fromkeys(map(str, whole.paths))),
                seen=f"run {run_id} {count} times",
                next_step="give every run once",
            )


def _read(path: Path) -> SavedRun:
    try:
        saved = read_json(path)
    except JSONDecodeError as error:
        raise _unreadable(path, f"it is not JSON: {error}") from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if is_baseline(saved):
        return as_run(parse_baseline(saved, str(path)), path)
    if saved is None:
        raise _unreadable(path, "the file is empty")
    run = saved.get("servebench") if isinstance(saved, dict) else None
    if not isinstance(run, dict) or not isinstance(run.get("records"), list):
        raise _no_run(path, saved)
    _check(path, run["records"])
    facts = {key: value for key, value in run.items() if key != "records"}
    facts["commit"] = saved.get("commit_info")
    name = printable_text(path.stem)
    return SavedRun(name=name, records=tuple(run["records"]), facts=(facts,), paths=(path,))


def _no_run(path: Path, saved: object) -> PlanError:
    """Return the error for JSON that is something else; a report's own summary is the likeliest."""
    what = "this file is no run of pytest-servebench"
    if isinstance(saved, dict) and {"runs", "cases", "winners"} <= saved.keys():
        return PlanError(
            what,
            where=str(path),
            seen="it is the summary of a report",
            next_step=f"give the run that the report was made of; if none was kept, {_HOW_TO_SAVE}",
        )
    return PlanError(what, where=str(path), seen="it has no servebench.records", next_step=_HOW_TO_MEASURE)


def _check(path: Path, records: Iterable[Any]) -> None:
    """Raise `PlanError` for records of which nothing can be said."""
    count = 0
    for record in records:
        count += 1
        if why := wrong_shape(record):
            raise _unreadable(path, f"record {count} {why}")
        if (schema := record["schema"]) > SCHEMA:
            raise PlanError(
                "this run was saved by a newer pytest-servebench",
                where=str(path),
                seen=f"schema {schema}; this one reads up to {SCHEMA}",
                next_step="update pytest-servebench",
            )
    if not count:
        raise PlanError(
            "this run measured nothing",
            where=str(path),
            seen="servebench.records is empty",
            next_step="look at why its benchmarks did not run, and save another",
        )


def _unreadable(path: Path, seen: str) -> PlanError:
    return PlanError("a saved run cannot be read", where=str(path), seen=seen, next_step=_HOW_TO_SAVE)
