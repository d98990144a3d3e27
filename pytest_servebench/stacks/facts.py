"""What a guest says of its engine (``facts`` in `handlers/engine.py`), from whatever JSON came (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_servebench.results import Served

WORDS = ("engine", "provider", "device", "precision")


def json_of(text: str | bytes) -> Any:  # noqa: ANN401 (JSON's own types)
    """Return what ``text`` holds; None when it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def served_of(told: object, where: str) -> Served:
    """Return what a guest told; what it left out, or told as something else, is not known.

    ``where`` is where it was looked for, for the reason.
    """
    if not isinstance(told, Mapping) or not any(_word(told.get(name)) for name in WORDS):
        return Served(absent=f"{where} does not say what it computes with")
    return Served(
        engine=_word(told.get("engine")),
        provider=_word(told.get("provider")),
        device=_word(told.get("device")),
        precision=_word(told.get("precision")),
        nodes={str(provider): count for provider, count in _items(told.get("nodes")) if _is_count(count)},
        options={str(name): str(value) for name, value in _items(told.get("options"))},
    )


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _items(value: object) -> list[tuple[object, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
