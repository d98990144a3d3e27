"""A text that may only be so long: its parts by weight, the last ones shortened or left out (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_BYTES = 1_000_000
"""GitHub refuses the summary of a step that is longer than 1 MiB."""
_ROOM_BYTES = 400
"""Kept for what is said of all that was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a markdown text; between parts stands an empty line."""

    name: str
    """What it is called where it is left out."""
    head: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """As many of them are kept as there is room for."""
    tail: tuple[str, ...] = ()


def fitted(parts: Sequence[Part], most_bytes: int = MOST_BYTES) -> str:
    """Return the text of ``parts``, not longer than ``most_bytes``; what had to go is told."""
    left_bytes, texts, gone = most_bytes - _ROOM_BYTES, [], []
    for part in parts:
        kept = _lines_within(part, left_bytes)
        if kept is None:
            gone.append(part.name)
            continue
        lines = [*part.head, *part.lines[:kept], *_cut(len(part.lines) - kept), *part.tail]
        texts.append("\n".join(lines))
        left_bytes -= _size(lines) + 1
    if gone:
        texts.append(
            f"Left out, as this would be too long: {', '.join(gone)[:200]}; summary.json has it all."
        )
    return "\n\n".join(texts) + "\n"


def _lines_within(part: Part, most_bytes: int) -> int | None:
    """Return how many lines of a part there is room for; None: not even for its head, or for none of them."""
    left_bytes = most_bytes - _size(part.head) - _size(part.tail) - 1
    if left_bytes >= _size(part.lines):
        return len(part.lines)
    left_bytes -= _size(_cut(len(part.lines)))
    kept = 0
    for line in part.lines:
        left_bytes -= _size([line])
        if left_bytes < 0:
            break
        kept += 1
    return kept or None


def _cut(count: int) -> tuple[str, ...]:
    return ("", f"{count} more lines would be too long; summary.json has them.") if count else ()


def _size(lines: Sequence[str]) -> int:
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines)
