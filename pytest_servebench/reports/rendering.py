"""Tables as lines of text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.table import Table

NOT_AVAILABLE = "n/a"
"""What stands where there is no figure; it is never 0."""
UNBOUNDED = 10_000


def natural_width(table: Table) -> int:
    """Return how many columns of a terminal a table takes when nothing in it is cut."""
    return Console(width=UNBOUNDED, file=io.StringIO()).measure(table).maximum


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
