"""Baselines: runs that somebody promoted, each a small file in a folder.

A run that is saved never becomes a baseline by itself: a gate that takes the latest run for its baseline is
red once, and green for the same slow server ever after.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_servebench.comparison.json_files import read_json
from pytest_servebench.comparison.record_shape import SCHEMA as RECORD_SCHEMA
from pytest_servebench.comparison.replicates import Record
from pytest_servebench.comparison.trimmed import packed, unpacked
from pytest_servebench.errors import PlanError
from pytest_servebench.words import did_you_mean, listed

SCHEMA = 1
"""Of the file; raised when a field changes its meaning or goes away."""
DEFAULT_NAME = "main"
NO_BASELINE = "none"
"""The word that asks for no comparison; a baseline cannot have it for its name."""
FOLDER = Path(".servebench/baselines")
"""Beside the rootdir."""
_MARK = "servebench_baseline"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEPTH = 5
"""How deep a file is indented: a line holds a replicate."""
_ELSEWHERE = "see whose that folder is, and what room its disk has; or give another"
PROMOTE = "servebench baseline promote RUN.json"
"""What somebody types who has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What others are compared with."""

    name: str
    promoted: str
    """When, in UTC as ISO 8601."""
    runs: tuple[Mapping[str, Any], ...]
    """Where its records are from: ``file``, ``run_id``, ``started`` of each."""
    fingerprint: Mapping[str, Sequence[str]]
    """For people: each fact with every value that its cases have. Comparing, the records' own count."""
    records: tuple[Record, ...]
    """Trimmed, see `trimmed`."""


def is_name(word: str) -> bool:
    """Return whether a baseline may have this name: one that leads nowhere else, and is no file's."""
    return bool(_NAME.fullmatch(word)) and not word.endswith(".json") and word != NO_BASELINE


def is_baseline(content: object) -> bool:
    """Return whether what a file holds is meant to be a baseline."""
    return isinstance(content, dict) and _MARK in content


def parse_baseline(content: Mapping[str, Any], where: str) -> Baseline:
    """Return the baseline in a file's content; raises `PlanError`."""
    schema = content.get(_MARK)
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise _broken(where, f"its {_MARK} is no schema's number")
    if schema > SCHEMA:
        raise _newer(where, schema, SCHEMA)
    try:
        found = Baseline(
            name=str(content["name"]),
            promoted=str(content["promoted"]),
            runs=tuple(dict(run) for run in content["runs"]),
            fingerprint={
                str(fact): [str(value) for value in values] for fact, values in content["fingerprint"].items()
            },
            records=unpacked(content["measured"]),
        )
    except KeyError as error:
        raise _broken(where, f"it has no {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise _broken(where, str(error)) from error
    if not found.records:
        raise _broken(where, "it holds no case")
    newest = max(record["schema"] for record in found.records)
    if newest > RECORD_SCHEMA:
        raise _newer(where, newest, RECORD_SCHEMA)
    return found


def _newer(where: str, schema: int, known: int) -> PlanError:
    return PlanError(
        "this baseline was written by a newer pytest-servebench",
        where=where,
        seen=f"schema {schema}; this one reads up to {known}",
        next_step="update pytest-servebench, or promote the run again with this version",
    )


def baseline_text(baseline: Baseline) -> str:
    """Return what the file of ``baseline`` holds: a line for each replicate, for the sake of git."""
    content = {
        _MARK: SCHEMA,
        "name": baseline.name,
        "promoted": baseline.promoted,
        "runs": list(baseline.runs),
        "fingerprint": dict(baseline.fingerprint),
        "measured": packed(baseline.records),
    }
    return _indented(content, _DEPTH) + "\n"


@dataclass(frozen=True, slots=True)
class BaselineStore:
    """The baselines in a folder, each ``NAME.json``."""

    folder: Path

    def names(self) -> tuple[str, ...]:
        """Return the names of those that are there, sorted; whether they can be read is not looked at."""
        stems = (path.stem for path in self.folder.glob("*.json") if _is_file(path))
        return tuple(sorted(stem for stem in stems if is_name(stem)))

    def path(self, name: str) -> Path:
        """Return where a baseline of this name lies; raises `PlanError` for what is no name."""
        if not is_name(name):
            raise PlanError(
                f"{name!r} is no name of a baseline",
                next_step="use letters, digits, '.', '_' and '-', a letter or digit first, 100 at most, "
                f"no .json at its end, and not {NO_BASELINE}",
            )
        return self.folder / f"{name}.json"

    def has(self, word: str) -> bool:
        """Return whether a baseline of this name is there."""
        return is_name(word) and _is_file(self.path(word))

    def read(self, name: str) -> Baseline:
        """Return a baseline; raises `PlanError` for one that is not there or cannot be read."""
        path = self.path(name)
        if not _is_file(path):
            raise self._unknown(name)
        return read_baseline(path)

    def write(self, baseline: Baseline, *, replace: bool = False) -> Path:
        """Write a baseline whole or not at all, and return where; raises `PlanError` where one is."""
        path = self.path(baseline.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._put(path, baseline_text(baseline), replace=replace)
        except FileExistsError as error:
            raise PlanError(
                f"there is a baseline {baseline.name} already",
                where=str(path),
                next_step="give --replace to promote over it, or another name with --as",
            ) from error
        except OSError as error:
            raise PlanError(
                "the baseline cannot be written", where=str(path), seen=str(error), next_step=_ELSEWHERE
            ) from error
        return path

    def drop(self, name: str) -> Path:
        """Remove a baseline and return where it was; raises `PlanError` for one that is not there."""
        path = self.path(name)
        try:
            path.unlink()
        except FileNotFoundError as error:
            raise self._unknown(name, next_step="servebench baseline list tells of each") from error
        except OSError as error:
            raise PlanError(
                "the baseline cannot be removed", where=str(path), seen=str(error), next_step=_ELSEWHERE
            ) from error
        return path

    def _put(self, path: Path, text: str, *, replace: bool) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=".promoting-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(temporary).chmod(0o644)  # mkstemp's is nobody else's, and this goes into a repository
            if replace:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)  # unlike a rename it fails where somebody else was first
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()

    def _unknown(self, name: str, next_step: str = "") -> PlanError:
        names = self.names()
        promoted_as = "" if name == DEFAULT_NAME else f" --as {name}"
        return PlanError(
            f"there is no baseline {name!r}{did_you_mean(name, names)}",
            where=str(self.folder),
            seen=f"baselines there: {listed(names)}",
            next_step=next_step or f"promote a saved run: {PROMOTE}{promoted_as}",
        )


def _is_file(path: Path) -> bool:
    """Return whether a file is there; raises `PlanError` where this user may not look."""
    try:
        return path.is_file()
    except OSError as error:
        raise PlanError(
            "the baselines cannot be read", where=str(path.parent), seen=str(error), next_step=_ELSEWHERE
        ) from error


def read_baseline(path: Path) -> Baseline:
    """Return the baseline in a file; raises `PlanError` for one that cannot be read or is none."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise _broken(str(path), str(error)) from error
    if not is_baseline(content):
        raise _broken(str(path), f"it has no {_MARK}")
    return parse_baseline(content, str(path))


def _broken(where: str, seen: str) -> PlanError:
    return PlanError(
        "this baseline is broken",
        where=where,
        seen=seen,
        next_step=f"restore the file, or drop it and promote a run again: {PROMOTE} --replace",
    )


def _indented(value: object, depth: int, margin: str = "") -> str:
    """Return JSON that is indented down to ``depth``, and on one line below."""
    if depth == 0 or not value or not isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    inner = margin + " "
    if isinstance(value, list):
        parts, ends = [_indented(each, depth - 1, inner) for each in value], "[]"
    else:
        pairs = ((json.dumps(str(key), ensure_ascii=False), each) for key, each in value.items())
        parts, ends = [f"{key}: {_indented(each, depth - 1, inner)}" for key, each in pairs], "{}"
    return f"{ends[0]}\n{inner}" + f",\n{inner}".join(parts) + f"\n{margin}{ends[1]}"
