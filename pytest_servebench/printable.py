"""Texts of records as they may be shown: no character in them is a command to a terminal or a page (pure).

A reason or an error may quote what a server answered: an escape sequence in it would be obeyed by the
terminal that shows it, a zero byte is forbidden in HTML, and a change of direction turns around the words
beside it. Each is ``?``; lines and tabs stay, and so do letters of every script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose texts, keys too, can be shown anywhere."""
    return {_text(key): printable_part(value) for key, value in record.items()}


def printable_text(text: str) -> str:
    """Return a text with ``?`` for each character that commands."""
    return _COMMANDS.sub("?", text)


def printable_part(value: object) -> object:
    """Return what stands in a record, or in a file, with every text in it as it can be shown."""
    if isinstance(value, str):
        return printable_text(value)
    if isinstance(value, Mapping):
        return printable(value)
    return [printable_part(each) for each in value] if isinstance(value, (list, tuple)) else value


def _text(key: str) -> str:
    return printable_text(key) if isinstance(key, str) else key
