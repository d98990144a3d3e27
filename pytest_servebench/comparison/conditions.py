"""What a case was measured under: a figure is compared only where both sides had the same (pure)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pytest_servebench.comparison.replicates import Record

_NOT_OF_THE_CASE = frozenset({"id", "repeat", "device", "decoder"})
"""Names of replicates; the device, which the fingerprint has, as it has the decoder that is used."""
_NOT_OF_THE_LOAD = frozenset({"seed"})
"""Which random load of its kind it was."""
_FOUND_BY_SEARCH = frozenset({"arrivals", "concurrency", "duration_s"})
"""The rate that a search for capacity ended with is its result, and how long a run at it takes follows."""


def is_capacity(record: Record) -> bool:
    """Return whether the case's rate of requests was looked for."""
    return (record.get("case") or {}).get("objective") is not None


def conditions(record: Record) -> dict[str, str]:
    """Return what the case was and how it was loaded, by name, each as text.

    A field of the load that the case has too (``precision``, ``objective``) is called ``load.precision``.
    """
    case: Mapping[str, Any] = record.get("case") or {}
    load: Mapping[str, Any] = record.get("load") or {}
    left_out = _NOT_OF_THE_LOAD | (_FOUND_BY_SEARCH if is_capacity(record) else frozenset())
    facts = {
        **{name: fact for name, fact in case.items() if name not in _NOT_OF_THE_CASE},
        **{f"load.{name}" if name in case else name: load[name] for name in load if name not in left_out},
        "quick": record.get("quick", False),
    }
    return {name: _text(fact) for name, fact in facts.items()}


def condition_differences(
    before: Sequence[Record], now: Sequence[Record], allowed: Collection[str]
) -> tuple[str, ...]:
    """Return each condition that is not one and the same on both sides, in words.

    But for those that ``allowed`` names: ``all`` is every fact of the machine, and no load.
    """
    sides = [[conditions(record) for record in side] for side in (before, now)]
    found = []
    for name in dict.fromkeys(name for side in sides for facts in side for name in facts):
        seen = [sorted({facts.get(name, "none") for facts in side}) for side in sides]
        if name not in allowed and (seen[0] != seen[1] or len(seen[0]) > 1):
            found.append(f"{name} was {' or '.join(seen[0])}, is {' or '.join(seen[1])}")
    return tuple(found)


def _text(fact: object) -> str:
    if fact is None:
        return "none"
    if isinstance(fact, bool):
        return str(fact).lower()
    if isinstance(fact, float):
        return f"{fact:g}"
    if isinstance(fact, (list, tuple)):
        return ", ".join(map(_text, fact)) or "none"
    return str(fact)
