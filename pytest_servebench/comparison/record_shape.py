"""What a record must look like to be compared: figures may be missing, its shape may not be wrong (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA = 1
"""The newest schema of records that is read."""
_MAPPING, _TEXT, _NUMBER = "an object", "text", "a whole number"
_TYPES: Mapping[str, type] = {_MAPPING: dict, _TEXT: str, _NUMBER: int, "true or false": bool, "a list": list}
_KINDS: Mapping[tuple[str, ...], str] = {
    ("test",): _TEXT,
    ("benchmark",): _TEXT,
    ("measurement",): _NUMBER,
    ("case", "repeat"): _NUMBER,
    ("repeat",): _NUMBER,
    ("repeats",): _NUMBER,
    ("load",): _MAPPING,
    ("validity",): _TEXT,
    ("restarted",): "true or false",
    ("machine",): _MAPPING,
    ("machine", "packages"): _MAPPING,
    ("machine", "gpus"): "a list",
    ("container",): _MAPPING,
    ("served",): _MAPPING,
    ("served", "options"): _MAPPING,
    ("k6",): _MAPPING,
    ("telemetry",): _MAPPING,
    ("telemetry", "gpu_name"): _TEXT,
}
"""What may be absent or null; ``test`` and ``measurement``, which name a case, only absent."""
_NEVER_NULL = (("test",), ("measurement",))


def wrong_shape(record: object) -> str:
    """Return why a record cannot be compared, in words; empty where it can be.

    What a newer schema looks like is not known, and not looked at.
    """
    if not isinstance(record, dict) or not _is(record.get("schema"), int):
        return "has no schema"
    if record["schema"] > SCHEMA:
        return ""
    case = record.get("case")
    if not isinstance(case, dict) or not isinstance(case.get("id"), str):
        return "has no case with an id"
    for path, kind in _KINDS.items():
        found = _at(record, path)
        absent = found is _ABSENT or (found is None and path not in _NEVER_NULL)
        if not absent and not _is(found, _TYPES[kind]):
            return f"has a {'.'.join(path)} that is not {kind}"
    gpus = _at(record, ("machine", "gpus"))
    if isinstance(gpus, list) and not all(isinstance(each, str) for each in gpus):
        return "has a GPU without a name"
    return "" if _can_be_told(record) else "has container.cpus that are no number"


_ABSENT = object()


def _at(record: Mapping[str, Any], path: tuple[str, ...]) -> object:
    value: object = record
    for key in path:
        value = value.get(key, _ABSENT) if isinstance(value, dict) else _ABSENT
    return value


def _is(value: object, kind: type) -> bool:
    """Return whether a value is of a type; true and false are no numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _can_be_told(record: Mapping[str, Any]) -> bool:
    cpus = _at(record, ("container", "cpus"))
    return cpus is _ABSENT or cpus is None or _is(cpus, int) or _is(cpus, float)
