"""``servebench baseline``: which saved run others are judged by."""

from __future__ import annotations

import click


@click.group()
def baseline() -> None:
    """Promote a saved run to a baseline, and look after baselines."""
