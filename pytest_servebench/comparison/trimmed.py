"""Records cut down to what a comparison asks for, and written so that nothing is said twice (pure).

What all records share stands once, what the replicates of a case share once for the case, and the rest with
each replicate: 24 cases with 5 replicates each are tens of kilobytes, where the records are megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_servebench.comparison.figures import FIGURES
from pytest_servebench.comparison.record_shape import wrong_shape
from pytest_servebench.comparison.replicates import Record, case_name, replicates_of

KEPT = (
    *("schema", "benchmark", "measurement", "case", "load", "model", "weights", "artifact_sha256"),
    *("backend", "launcher", "device", "cpu_set", "validity", "reason", "publishable", "window_s", "quick"),
    *("repeat", "repeats", "restarted"),
)
"""Fields that are kept as they are: no samples, no histograms, no time lines, nothing of the run's course."""
_CONTAINER = ("image", "image_id", "cpu_set", "cpus", "memory_bytes")
_MACHINE = ("cpu", "cores_usable", "system", "kernel", "python", "gpus", "gpu_driver", "packages")
_TELEMETRY = ("gpu_name", "gpu_memory_bytes", "gpu_energy_source", "server_memory_kind")
"""What tells GPUs apart, and what `figures.Figure.kind` asks for."""
_SERVED = ("engine", "provider", "device", "precision", "options")


def trimmed(record: Record) -> dict[str, Any]:
    """Return what a comparison needs of a record: every figure of `FIGURES`, and what tells cases apart.

    The case has no repeat any more, and ``test`` is the name that its replicates share.
    """
    kept = {key: record[key] for key in KEPT if key in record}
    case, number = dict(record["case"]), record.get("measurement", 1)
    suffix = f"#{number}" if number != 1 else ""
    if case.get("repeat") is not None:
        case["id"] = str(case["id"]).removesuffix(f"-r{case['repeat']}")
    kept |= {
        "case": {**case, "repeat": None},
        "test": case_name(record).removesuffix(suffix),
        "container": _some(record.get("container"), _CONTAINER),
        "machine": _some(record.get("machine"), _MACHINE),
        "served": _some(record.get("served"), _SERVED),
        "telemetry": _some(record.get("telemetry") or {}, _TELEMETRY),
    }
    if k6_version := (record.get("k6") or {}).get("version"):
        kept["k6"] = {"version": k6_version}
    for figure in FIGURES.values():
        _put(kept, figure.path, figure.of(record))
    return kept


def packed(records: Iterable[Record]) -> dict[str, Any]:
    """Return records, trimmed already, as ``{"of_all", "cases": [{"of_case", "replicates"}]}``."""
    groups = replicates_of(records)
    of_all = _common([record for group in groups.values() for record in group])
    cases = []
    for group in groups.values():
        rest = [_without(record, of_all) for record in group]
        of_case = _common(rest) if len(rest) > 1 else rest[0]
        cases.append({"of_case": of_case, "replicates": [_without(each, of_case) for each in rest]})
    return {"of_all": of_all, "cases": cases}


def unpacked(content: Mapping[str, Any]) -> tuple[Record, ...]:
    """Return the records that `packed` wrote, a case's side by side; raises what broken content does."""
    of_all: Mapping[str, Any] = content["of_all"]
    found = tuple(
        {**of_all, **case["of_case"], **replicate}
        for case in content["cases"]
        for replicate in case["replicates"]
    )
    for record in found:
        if why := wrong_shape(record):
            raise ValueError(f"a record {why}")
    return found


def _put(record: dict[str, Any], path: Sequence[str], value: float | None) -> None:
    inner = record
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value


def _some(given: Mapping[str, Any] | None, keys: Iterable[str]) -> dict[str, Any] | None:
    return None if given is None else {key: given[key] for key in keys if key in given}


def _common(records: Sequence[Record]) -> dict[str, Any]:
    first = records[0] if records else {}
    return {
        key: value
        for key, value in first.items()
        if all(key in each and each[key] == value for each in records)
    }


def _without(record: Record, common: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in common}
