"""The last word of a session in the terminal: tables, what is wrong, what was found (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.printable import printable
from pytest_servebench.reports.findings import findings_lines, findings_of
from pytest_servebench.reports.rendering import wrapped
from pytest_servebench.reports.terminal import brief_lines, report_lines, verdict_lines

WIDTH_OF_A_FILE = 160
"""Columns of a table that no terminal bounds: all of them fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What is written on."""

    width: int | None
    """In columns; None: lines are as long as they are, as in a log."""
    colour: bool
    encoding: str = "utf-8"


def closing_lines(
    records: Sequence[Mapping[str, Any]], paper: Paper, *, verbosity: int, more: Sequence[str] = ()
) -> list[str]:
    """Return the report of a session, ``more`` below its notes and what was found at the end.

    With a ``verbosity`` of -1 (pytest's -q) the tables with what is wrong and what was found, below that
    (-qq) what is wrong and the count of verdicts.
    """
    records = [printable(record) for record in records]
    if verbosity < -1:
        found = verdict_lines(records)
        return found if paper.width is None else wrapped(found, paper.width)
    width = paper.width or WIDTH_OF_A_FILE
    lines = brief_lines if verbosity < 0 else report_lines
    told = lines(records, width=width, colour=paper.colour, encoding=paper.encoding)
    told += () if verbosity < 0 else more
    found = findings_lines(findings_of(records), width=width, colour=paper.colour)
    return [*(told if paper.width is None else wrapped(told, paper.width)), *([""] if found else []), *found]
