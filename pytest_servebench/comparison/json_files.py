"""Reads JSON that anybody may have edited: what comes back can be counted with, written and shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from stat import S_ISFIFO, S_ISREG
from typing import Any

from pytest_servebench.printable import printable_part

MOST_BYTES = 2**30
"""A file larger than this is no saved run."""
_MOST_DIGITS = 18
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
_MAY_COMMAND = re.compile(rb"\x00|\\[bfru]|\x7f|\xc2[\x80-\x9f]|\xe2(\x80[\xaa-\xae]|\x81[\xa6-\xa9])")
"""A file without any of these has no character that `printable` replaces, and is not walked through."""


def read_json(path: Path) -> Any:  # noqa: ANN401 (JSON is anything)
    """Return what a file holds, None for an empty one; raises `OSError`, or `ValueError` for what is no JSON.

    NaN, infinities and numbers beyond all measure are None: they are no figures. Half a surrogate pair,
    which nothing could print, is ``?``, and so is a character that commands a terminal (`printable`). A pipe
    is read, a device is not: it may have no end.
    """
    facts = path.stat()
    if not (S_ISREG(facts.st_mode) or S_ISFIFO(facts.st_mode)):
        raise ValueError("it is no regular file")
    if facts.st_size > MOST_BYTES:
        raise ValueError(f"it has {facts.st_size / 2**30:.1f} GiB, and no saved run has more than 1")
    content = path.read_bytes() or b"null"
    try:
        found = _parsed(content)
        if _HALF_CHARACTER.search(content):
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        if _MAY_COMMAND.search(content):
            found = printable_part(found)
    except RecursionError as error:
        raise ValueError("its lists and objects lie too deep in each other") from error
    return found


def _parsed(content: bytes) -> object:
    found: object = json.loads(
        content, parse_constant=lambda _: None, parse_float=_finite, parse_int=_countable
    )
    return found


def _finite(text: str) -> float | None:
    number = float(text)
    return number if abs(number) < 10**_MOST_DIGITS else None


def _countable(text: str) -> int | None:
    return int(text) if len(text) <= _MOST_DIGITS else None
