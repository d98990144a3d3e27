"""Whether a report, or a saved run, can be written: told before hours of measuring, not after."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_servebench.errors import PlanError
from pytest_servebench.options.given import Given

SAVED_FILE = "--benchmark-json"
"""The option that names a file; others name folders."""


def check_writable(given: Given, folder: Path) -> None:
    """Raise `PlanError` for a folder that cannot be made or written into; nothing is made."""
    why = _why_not(folder)
    if why:
        raise given.wrong(
            "names a folder that cannot be written",
            seen=f"{folder}: {why}",
            next_step="give a folder that is yours, or one that is not there yet below one that is",
        )


def check_saves(places: Mapping[str, Path]) -> None:
    """Raise `PlanError` for an option whose file or folder cannot be written."""
    for flag, place in places.items():
        why = _why_no_file(place) if flag == SAVED_FILE else _why_not(place)
        if why:
            raise PlanError(
                f"{flag} names a place that cannot be written, so that no record of this run would be left",
                where="options of pytest-benchmark",
                seen=f"{place}: {why}",
                next_step="give one that is yours, or leave the option out",
            )


def _why_no_file(path: Path) -> str:
    if not os.path.lexists(path):
        return _why_not(path.parent) if os.path.isdir(path.parent) else f"{path.parent} is no folder"  # noqa: PTH112 (never raises)
    if os.path.isdir(path):  # noqa: PTH112 (never raises)
        return "it is a folder"
    return "" if os.access(path, os.W_OK) else "it may not be written"


def _why_not(folder: Path) -> str:
    try:
        nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        may = os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if may else f"{nearest} may not be written into"
