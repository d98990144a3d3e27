"""Paths that a person wrote: ``~`` is a home, and of somebody who has none an error, not a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_servebench.errors import PlanError


def at_home(text: str, named_by: str, where: str = "") -> Path:
    """Return the path without ``~``; raises `PlanError` that names ``named_by`` where that home is unknown.

    A user may be unknown, or have no home: in a container whose user number nobody has entered.
    """
    path = os.path.expanduser(text)  # noqa: PTH111 (pathlib's raises, and of what is no plan's error)
    if path.startswith("~"):
        raise PlanError(
            f"{named_by} begins in a home folder that is not known: {text!r}",
            where=where,
            seen=f"no home folder for {path.partition('/')[0]}",
            next_step="write the path out, as in /home/me/...; ./~... means a folder of that name",
        )
    return Path(path)


def folder_named(variable: str, environment: Mapping[str, str], platforms: Callable[[str], str]) -> Path:
    """Return the folder that ``variable`` names, else the platform's for this project; raises `PlanError`.

    A user without a home has none of the platform's: some versions of platformdirs raise then, others mean a
    folder called ``~`` in the working directory.
    """
    named = environment.get(variable, "").strip()
    try:
        return at_home(named or platforms("pytest-servebench"), variable)
    except RuntimeError as error:
        raise PlanError(
            "this user has no home folder to keep files in",
            seen=str(error),
            next_step=f"set {variable}=FOLDER",
        ) from error
