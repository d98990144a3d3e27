"""The report as a folder: everything that a run leaves for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_servebench.comparison.saved_runs import SavedRun


def write_report(runs: Sequence[SavedRun], folder: Path) -> tuple[Path, ...]:
    """Write every part of the report of ``runs``, side by side, into ``folder``; return what was written."""
    raise NotImplementedError
