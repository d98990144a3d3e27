"""``servebench history``: when figures changed, over many saved runs."""

from __future__ import annotations

import click


@click.command()
def history() -> None:
    """Find change points over many saved runs."""
