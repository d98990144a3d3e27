"""Finds the files that travel with the package: guests, the Triton repository, compose files."""

from __future__ import annotations

import shlex
from pathlib import Path

from pytest_servebench.errors import MissingPieceError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Return the folder ``name`` (``handlers``, ``model_repository``, ``benchmarks``, ``deploy``).

    In an installed wheel it lies inside the package, in a checkout beside it.
    """
    for folder in (_PACKAGE / "_shipped" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise MissingPieceError(
        f"the folder {name!r} that belongs to pytest-servebench is not there",
        where=f"looked in {_PACKAGE / '_shipped'} and {_PACKAGE.parent}",
        next_step="reinstall pytest-servebench",
    )


def suite_from(folder: Path) -> str:
    """Return the benchmarks that ship as an argument of pytest that is run in ``folder``.

    In a checkout, and beside a copy of them, it is ``benchmarks``; a project that has installed the wheel has
    no such folder.
    """
    suite, here = shipped("benchmarks"), folder.resolve()
    if (here / suite.name / "test_latency.py").is_file():
        return suite.name
    return shlex.quote(str(suite.relative_to(here) if suite.is_relative_to(here) else suite))
