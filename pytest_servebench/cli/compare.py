"""``servebench compare``: saved runs beside each other, with verdicts."""

from __future__ import annotations

import click


@click.command()
def compare() -> None:
    """Compare saved runs."""
