"""What in a saved record is not of the kind that its schema says, so that no report can tell it (pure).

The types of docs/record.md's schema are asked for and no more: a field that a record lacks was not known
when it was saved, and one that is new is not known here. Null is no misfit where a record has a figure
or an object of its own: it is missing, and shown as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from pytest_servebench.schemas import schema_text

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = MappingProxyType(
    {
        "object": ((dict,), "an object"),
        "array": ((list,), "a list"),
        "string": ((str,), "text"),
        "integer": ((int,), "a whole number"),
        "number": ((int, float), "a number"),
        "boolean": ((bool,), "true or false"),
        "null": ((type(None),), "null"),
    }
)
_LONGEST = 60
"""Characters of a misfit that a message shows."""
_TOLD_WHOLE = ((".capacity",), (".scaling",))
"""Objects of which a sentence tells every field."""
_OWN_DEPTH = 2
"""A record's figures lie in it or in an object of it (``counts.correct``); deeper lie parts of lists."""


def misfit_of(record: Mapping[str, Any]) -> str:
    """Return ``timeline.failed[2] is null, not a whole number`` of the first misfit; empty without one."""
    return next(_misfits(record, _schema(), (), 0), "") or _uneven(record.get("timeline"))


def _uneven(timeline: Mapping[str, Any] | None) -> str:
    """Return why the time line's lists, a number for each interval, do not belong together."""
    counts = {key: len(value) for key, value in (timeline or {}).items() if isinstance(value, list)}
    if len(set(counts.values())) < 2:  # noqa: PLR2004 (one length for all)
        return ""
    told = ", ".join(f"{count} of {key}" for key, count in counts.items())
    return f"timeline has lists of different lengths: {told}"


@cache
def _schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads(schema_text("record"))
    return schema


def _misfits(value: object, schema: Mapping[str, Any], path: tuple[str, ...], depth: int) -> Iterator[str]:
    if value is None and depth <= _OWN_DEPTH:
        return
    if not _fits(value, schema):
        yield f"{''.join(path).removeprefix('.')} is {_shown(value)}, not {_wanted(schema)}"
        return
    if (depth >= _OWN_DEPTH or path in _TOLD_WHOLE) and isinstance(value, dict):
        lacks = [name for name in schema.get("required", ()) if name not in value]
        yield from (f"{''.join(path).removeprefix('.')} has no {name}" for name in lacks)
    for step, part, of_part in _parts(value, schema):
        # What lies in a list is shown beside its neighbours: of it nothing may be missing.
        deeper = _OWN_DEPTH if isinstance(value, list) else depth
        yield from _misfits(part, of_part, (*path, step), deeper + 1)


def _parts(value: object, schema: Mapping[str, Any]) -> Iterator[tuple[str, object, Mapping[str, Any]]]:
    """Yield the step to each part of a value that the schema speaks of, with the part and its schema."""
    if isinstance(value, list) and "items" in schema:
        yield from ((f"[{number}]", part, schema["items"]) for number, part in enumerate(value))
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        for key, part in value.items():
            if key in known or isinstance(other, dict):
                yield f".{key}", part, known.get(key, other)


def _fits(value: object, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, bool):
        return "boolean" in _names(schema)
    return any(isinstance(value, _TYPES[name][0]) for name in _names(schema))


def _names(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a value may have; words to choose from are text, and a version a number."""
    found = schema.get("type") or ("string" if "enum" in schema else "integer")
    return [found] if isinstance(found, str) else list(found)


def _wanted(schema: Mapping[str, Any]) -> str:
    return " or ".join(_TYPES[name][1] for name in _names(schema))


def _shown(value: object) -> str:
    told = json.dumps(value)
    return told if len(told) <= _LONGEST else f"{told[:_LONGEST]}..."
