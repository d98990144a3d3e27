"""Tables as lines of text."""

from __future__ import annotations

import io
from collections.abc import Iterable
from textwrap import wrap

from rich.console import Console, RenderableType
from rich.table import Table

NOT_AVAILABLE = "n/a"
"""What stands where there is no figure; it is never 0."""
UNBOUNDED = 10_000


def natural_width(table: Table) -> int:
    """Return how many columns of a terminal a table takes when nothing in it is cut."""
    return Console(width=UNBOUNDED, file=io.StringIO()).measure(table).maximum


def wrapped(lines: Iterable[str], width: int) -> list[str]:
    """Return sentences as lines of ``width`` columns, broken between words; what goes on is indented.

    A word that is longer, as a path, stays whole: it can be copied. So does a line that has colours.
    """
    return [
        part
        for line in lines
        for part in (
            [line]
            if len(line) <= width or "\x1b" in line
            else wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        )
    ]


def rendered(renderable: RenderableType, *, width: int, colour: bool, encoding: str) -> list[str]:
    """Return the lines; ``colour`` False gives plain text, an ``encoding`` without lines ASCII ones."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Console(
        file=stream,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
    )
    console.print(renderable)
    stream.seek(0)
    return [line.rstrip() for line in stream.read().splitlines()]
