"""A TOML text that knows where its keys stand, so that an error can name the line."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_servebench.errors import PlanError
from pytest_servebench.words import did_you_mean, listed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KeyPath = tuple[str | int, ...]
"""Where a value stands: table names and, in arrays of tables, positions from 0."""


@dataclass(frozen=True, slots=True)
class TomlSource:
    """The text of one TOML file and the name to call it by in messages."""

    text: str
    name: str

    def data(self) -> dict[str, Any]:
        """Return the parsed tables; raises `PlanError` with the line when it is not TOML."""
        try:
            data: dict[str, Any] = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:
            # A number of thousands of digits is a ValueError of Python's own, without a line.
            raise PlanError(
                f"{self.name} is not valid TOML", seen=str(error), next_step="correct that line"
            ) from error
        return data

    def line_of(self, path: KeyPath) -> int:
        """Return the line, from 1, on which the statement that defines ``path`` begins.

        Grows the text line by line until the parser finds ``path`` in it. A statement
        over several lines (an array, a long string) does not parse before it is whole,
        so it begins on the line after the last text that did. Only errors ask, so the
        repeated parsing costs nothing that matters. Raises `KeyError` when it is not there.
        """
        lines = self.text.split("\n")
        statement_begins = 1
        for count in range(1, len(lines) + 1):
            try:
                data = tomllib.loads("\n".join(lines[:count]) + "\n")
            except (ValueError, RecursionError):
                continue
            if _holds(data, path):
                return statement_begins
            statement_begins = count + 1
        raise KeyError(path)

    def wrong(self, path: KeyPath, what: str, *, seen: str = "", next_step: str = "") -> PlanError:
        """Return the error for the value at ``path``, with file and line."""
        where = f"{self.name}, line {self.line_of(path)}"
        return PlanError(what, where=where, seen=seen, next_step=next_step)

    def check_keys(self, table: Mapping[str, object], at: KeyPath, allowed: Collection[str]) -> None:
        """Raise `PlanError` for the first key of ``table``, which stands at ``at``, that is not allowed."""
        for key in table:
            if key not in allowed:
                raise self.wrong(
                    (*at, key),
                    f"unknown key {key!r}{did_you_mean(key, allowed)}",
                    next_step=f"allowed here: {listed(allowed)}",
                )


def _holds(data: object, path: KeyPath) -> bool:
    for step in path:
        if isinstance(step, int):
            if not isinstance(data, list) or step >= len(data):
                return False
            data = data[step]
        else:
            if not isinstance(data, dict) or step not in data:
                return False
            data = data[step]
    return True
