"""Whether the folder of a report can be written: told before hours of measuring, not after."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_servebench.options.given import Given


def check_writable(given: Given, folder: Path) -> None:
    """Raise `PlanError` for a folder that cannot be made or written into; nothing is made."""
    why = _why_not(folder)
    if why:
        raise given.wrong(
            "names a folder that cannot be written",
            seen=f"{folder}: {why}",
            next_step="give a folder that is yours, or one that is not there yet below one that is",
        )


def _why_not(folder: Path) -> str:
    try:
        nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
        if not nearest.is_dir():
            return f"{nearest} is no folder"
        may = os.access(nearest, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:
        return str(error)
    return "" if may else f"{nearest} may not be written into"
