"""Fields of a record as a person reads them, whatever they are: a new one needs no line here (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.rendering import NOT_AVAILABLE

_UNITS = {
    "_per_s": "per s",
    "_ms": "ms",
    "_mhz": "MHz",
    "_percent": "%",
    "_bytes": "",
    "_gb": "GB",
    "_s": "s",
    "_w": "W",
    "_j": "J",
    "_c": "°C",
}
"""What the end of a field's name says of its unit; bytes are told with theirs."""
_MOST_DECIMALS = 6
_GB, _MB = 1e9, 1e6
_MOST_WORDS = 6
"""Different values of one field over replicates that are told one by one."""


def label(name: str) -> str:
    """Return a field's name in words: ``warmup, s``."""
    for end, unit in _UNITS.items():
        if name.endswith(end) and name != end:
            words = name.removesuffix(end).replace("_", " ")
            return f"{words}, {unit}" if unit else words
    return name.replace("_", " ")


def shown(name: str, value: object) -> str:
    """Return a field's value; what is missing is ``n/a``."""
    if value is None or value == "":
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _number(name, value)
    if isinstance(value, Mapping):
        return (
            "; ".join(f"{label(str(key))} {shown(str(key), each)}" for key, each in value.items()) or "none"
        )
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(name, each) for each in value) or "none"
    return str(value)


def shown_over(name: str, values: Sequence[Any]) -> str:
    """Return a field's value over replicates: one where they agree, else from which to which."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        low, high = shown(name, min(known)), shown(name, max(known))
        missing = f" ({len(values) - len(known)} of {len(values)} {NOT_AVAILABLE})"
        return (low if low == high else f"{low} to {high}") + missing * (len(known) < len(values))
    words = list(dict.fromkeys(shown(name, value) for value in values))
    more = f" and {len(words) - _MOST_WORDS} more" if len(words) > _MOST_WORDS else ""
    return " | ".join(words[:_MOST_WORDS]) + more


def _number(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        return f"{value / _GB:.3g} GB" if value >= _GB else f"{value / _MB:.3g} MB"
    if name.endswith("_share"):
        return f"{100 * value:.3g}%"
    return str(value) if isinstance(value, int) else number(value, decimals([value], _MOST_DECIMALS))
