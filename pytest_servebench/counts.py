"""Counts that may be given relative to a server's batch cap: ``8``, ``"b"``, ``"2b"``."""

from __future__ import annotations

import re

_TIMES_BATCH = re.compile(r"([1-9]\d{0,3})?b")


def is_count(value: object, *, relative: bool = True) -> bool:
    """Return whether ``value`` is a whole number from 1 or, with ``relative``, like ``"2b"``."""
    if isinstance(value, str):
        return relative and _TIMES_BATCH.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def count_of(given: int | str, max_batch_size: int) -> int:
    """Return ``given`` as a number; ``"2b"`` is twice ``max_batch_size``."""
    if isinstance(given, int):
        return given
    return int(given[:-1] or 1) * max_batch_size
