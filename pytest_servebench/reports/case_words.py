"""What became of a case, in a line of a log (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.row import Row

_MINUTE_S = 60


def case_words(record: Mapping[str, Any]) -> str:
    """Return its label, p95 in ms, images/s and verdict, as the table has them."""
    row = Row.from_record(record)
    p95_ms, images_per_s = row.response_time_p95_ms, row.images_per_s
    figures = f"p95 {_three(p95_ms)} ms, {_three(images_per_s)} images/s, {row.verdict}"
    return f"{row.label}: {figures}" + (f": {row.reason}" if row.reason else "")


def duration_words(seconds: float) -> str:
    """Return ``45 s`` or ``3 min 05 s``."""
    minutes, rest = divmod(round(seconds), _MINUTE_S)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _three(value: float | None) -> str:
    """Return a value with three digits that count."""
    return number(value, 0 if value is None else decimals([value]))
