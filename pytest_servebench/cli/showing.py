"""Where a command's text goes: a file that was named, or standard output, which may be gone."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from pytest_servebench.errors import PlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What text is written for."""

    width: int
    colour: bool
    encoding: str


def screen(*, into_file: bool) -> Screen:
    """Return what standard output is: as wide as a terminal, or ``COLUMNS``, or 80; a file is plain UTF-8."""
    width = shutil.get_terminal_size((80, 24)).columns
    if into_file:
        return Screen(width=width, colour=False, encoding="utf-8")
    return Screen(width=width, colour=_is_coloured(), encoding=_encoding())


def _is_coloured() -> bool:
    """Return whether colours are wanted, by the rules of pytest: ``NO_COLOR``, then ``FORCE_COLOR``."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return _is_terminal() and os.environ.get("TERM") != "dumb"


def _is_terminal() -> bool:
    """Return whether somebody looks on; nobody does where standard output is closed."""
    return sys.stdout is not None and sys.stdout.isatty()


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "ascii"


def show(text: str) -> None:
    """Write to standard output, what its encoding lacks as ``?``; a reader that has gone is no error."""
    if sys.stdout is None:  # closed: python has no file for it
        return
    encoding = _encoding()
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(path: Path, text: str) -> None:
    """Write ``text`` into a file, whose folder is made; raises `PlanError` where that cannot be."""
    _writing(path, text.encode("utf-8", "replace"))
    show(f"written: {click.format_filename(path)}\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a picture as `write` does text."""
    _writing(path, content)
    show(f"written: {click.format_filename(path)}\n")


def _writing(path: Path, content: bytes) -> None:
    is_new = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.write_bytes(content)
    except OSError as error:
        if is_new:
            with suppress(OSError):
                path.unlink()  # half of it, or nothing, is worse than no file
        raise PlanError(
            "the output cannot be written",
            where=str(path),
            seen=str(error),
            next_step="give another path with --output",
        ) from error
