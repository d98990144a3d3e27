"""Numbers as a person reads them: digits that count, and ``n/a`` for what is missing (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import Any

from pytest_servebench.reports.rendering import NOT_AVAILABLE

_MOST_DECIMALS = 6


def number(value: float | None, places: int = 1) -> str:
    """Return a value with so many decimals; None is ``n/a``."""
    return NOT_AVAILABLE if value is None else f"{value:,.{places}f}"


def numbers(values: Sequence[float | None]) -> list[str]:
    """Return values with as many decimals as three digits of the smallest take."""
    places = decimals([value for value in values if value is not None], _MOST_DECIMALS)
    return [number(value, places) for value in values]


def three_digits(value: float | None) -> str:
    """Return a value with three digits that count, and never fewer before the point than there are."""
    return numbers([value])[0]


def decimals(values: Sequence[float], most: int = 2) -> int:
    """Return how many decimals show three significant digits of the smallest value, at most ``most``."""
    smallest = min((abs(value) for value in values if value), default=100.0)
    return min(most, max(0, 2 - floor(log10(smallest))))


def number_of(mapping: Any, key: str) -> float | None:  # noqa: ANN401 (of a record's plain JSON)
    """Return a number of a record's mapping; None where it is missing."""
    value = (mapping or {}).get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
