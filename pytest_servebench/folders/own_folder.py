"""A folder that is this user's alone, in a place that is everybody's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pytest_servebench.errors import LaunchError


def own_folder(folder: Path) -> Path:
    """Make a folder for this user alone, unless it is there; raises `LaunchError` for somebody else's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise LaunchError(
            "nothing can be started: the folder of locks is open to others",
            where=str(folder),
            seen=f"owner {found.st_uid}, mode {stat.filemode(found.st_mode)}",
            next_step="remove it, or give another folder for temporary files with TMPDIR",
        )
    return folder
