"""Which records are replicates of each other: the same case, measured by servers that were started anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]


def case_name(record: Record) -> str:
    """Return the name that all replicates of a case share: its test's node id without the repeat.

    A test's second measurement of one case has ``#2`` behind it.
    """
    case, number = record["case"], record.get("measurement", 1)
    name, repeat = str(record.get("test", case["id"])), case.get("repeat")
    if repeat is not None:
        name = _unrepeated(name, str(case["id"]), f"-r{repeat}")
    return name if number == 1 else f"{name}#{number}"


def _unrepeated(test: str, case_id: str, repeat: str) -> str:
    """Return a test's node id without the repeat of its case."""
    if case_id in test:
        return test.replace(case_id, case_id.removesuffix(repeat))
    # The test measured another case than it was given: one that it made, or with a load of its own.
    return re.sub(rf"{repeat}(?=[-\]])", "", test, count=1)


def replicates_of(records: Iterable[Record]) -> dict[str, tuple[Record, ...]]:
    """Return the records by `case_name`, in order of first appearance."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(case_name(record), []).append(record)
    return {name: tuple(each) for name, each in found.items()}
