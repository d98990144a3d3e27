"""A case's figures as properties of its test, so that JUnit's XML carries them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

PREFIX = "servebench_"
_PATHS: Mapping[str, tuple[str, ...]] = {
    "p50_ms": ("response_time_ms", "p50"),
    "p95_ms": ("response_time_ms", "p95"),
    "p99_ms": ("response_time_ms", "p99"),
    "requests_per_s": ("throughput_per_s",),
    "images_per_s": ("images_per_s",),
    "capacity_per_s": ("capacity", "last_passing_per_s"),
    "serving_efficiency": ("serving_efficiency",),
    "memory_gb": ("figures", "memory_usage_gb"),
    "gpu_utilization_percent": ("figures", "gpu_utilization"),
    "batch_size_achieved": ("figures", "avg_batch_size"),
    "joules_per_image": ("telemetry", "joules_per_image"),
    "cold_start_s": ("cold_start_s",),
    "repeat": ("repeat",),
    "validity": ("validity",),
    "reason": ("reason",),
    # Not "verdict": that of the baseline is of no single repeat, and a gate may pass what has no limits.
    "limits_verdict": ("verdict", "judgement"),
}
"""Where a record has each."""


Property: TypeAlias = "tuple[str, object]"


def properties_of(record: Mapping[str, Any], *, after: Sequence[Property] = ()) -> list[Property]:
    """Return name and value of each figure that the record has: what is missing is left out, and never 0.

    ``after`` are the test's properties so far: those of its second measurement end in ``_2``.
    """
    number = 1 + sum(name.startswith(f"{PREFIX}validity") for name, _ in after)
    suffix = "" if number == 1 else f"_{number}"
    found = ((name, _at(record, path)) for name, path in _PATHS.items())
    return [(f"{PREFIX}{name}{suffix}", value) for name, value in found if value not in (None, "")]


def others_in(properties: Iterable[Property]) -> list[Property]:
    """Return the properties that are not ours."""
    return [each for each in properties if not each[0].startswith(PREFIX)]


def _at(record: Mapping[str, Any], path: Sequence[str]) -> object:
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
