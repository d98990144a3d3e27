"""The figures of a record that runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a record."""

    name: str
    """The word a user types: ``p95``."""
    unit: str
    path: tuple[str, ...]
    """Where a record has it."""
    higher_is_better: bool = False
    floor: float = 0.0
    """A change smaller than this, in ``unit``, is never a regression, however large its share."""

    def of(self, record: Mapping[str, Any]) -> float | None:
        """Return the figure of a record; None where it has none, or no finite one."""
        value: Any = record
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if is_number and isfinite(value) else None


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        each.name: each
        for each in (
            Figure(name="p50", unit="ms", path=("response_time_ms", "p50"), floor=0.1),
            Figure(name="p95", unit="ms", path=("response_time_ms", "p95"), floor=0.1),
            Figure(name="p99", unit="ms", path=("response_time_ms", "p99"), floor=0.1),
            Figure(name="throughput", unit="images/s", path=("images_per_s",), higher_is_better=True),
            Figure(
                name="efficiency", unit="", path=("serving_efficiency",), higher_is_better=True, floor=0.01
            ),
            Figure(name="memory", unit="GB", path=("figures", "memory_usage_gb"), floor=0.01),
            Figure(name="energy", unit="J/image", path=("telemetry", "joules_per_image")),
        )
    }
)
"""By name, in the order of tables."""
