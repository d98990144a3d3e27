"""Reads runs that pytest-benchmark has saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.errors import PlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """The records of one run, or of several that are read as one."""

    name: str
    """What a table calls it."""
    records: tuple[Record, ...]
    facts: tuple[Mapping[str, Any], ...] = ()
    """Of each file: ``run_id``, ``started``, ``plan``, ``machine``."""
    paths: tuple[Path, ...] = ()


def read_run(path: Path) -> SavedRun:
    """Return the run in a file of pytest-benchmark, or of every such file in a folder; raises `PlanError`."""
    paths = tuple(sorted(path.glob("*.json"))) if path.is_dir() else (path,)
    files = [_read(each) for each in paths]
    if not files:
        raise PlanError("this folder holds no saved run", where=str(path), next_step=_HOW_TO_SAVE)
    return SavedRun(
        name=path.stem,
        records=tuple(record for each in files for record in each["records"]),
        facts=tuple({key: value for key, value in each.items() if key != "records"} for each in files),
        paths=paths,
    )


_HOW_TO_SAVE = "save one with --benchmark-json=FILE, --benchmark-save=NAME or --benchmark-autosave"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        saved = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PlanError(
            "a saved run cannot be read", where=str(path), seen=str(error), next_step=_HOW_TO_SAVE
        ) from error
    run = saved.get("servebench") if isinstance(saved, dict) else None
    if not isinstance(run, dict) or not isinstance(run.get("records"), list):
        raise PlanError(
            "this file is no run of pytest-servebench",
            where=str(path),
            seen="it has no servebench.records",
            next_step=_HOW_TO_SAVE,
        )
    return run
