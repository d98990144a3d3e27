"""Closed vocabularies, and how messages offer their words: what is allowed, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import Enum


class Word(str, Enum):
    """A closed vocabulary whose members print as the word the user types."""

    def __str__(self) -> str:
        return str(self.value)


def listed(words: Iterable[object]) -> str:
    """Return ``a, b, c``, or ``(none)``."""
    return ", ".join(str(word) for word in words) or "(none)"


def did_you_mean(given: str, allowed: Iterable[object]) -> str:
    """Return ``: did you mean triton?`` for a near miss, else nothing."""
    close = get_close_matches(given.lower(), [str(word) for word in allowed], n=1)
    return f": did you mean {close[0]}?" if close else ""
