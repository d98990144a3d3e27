"""The figures of a record that runs are compared by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pytest_servebench.errors import PlanError
from pytest_servebench.words import did_you_mean, listed

RESPONSE_TIME = "response_time_ms"
BEYOND = 1e15
"""No figure is as great as this: neither NaN nor such a number is one that was measured."""


def _one_kind(_record: Mapping[str, Any]) -> str:
    return ""


def _whose_memory(record: Mapping[str, Any]) -> str:
    """Return whose memory ``memory_usage_gb`` is; a server's is counted in one of several ways."""
    telemetry = record.get("telemetry") or {}
    if telemetry.get("gpu_memory_bytes") is not None:
        return "of the GPU"
    counted = telemetry.get("server_memory_kind")
    return f"{counted} of the server" if counted else ""


def _energy_source(record: Mapping[str, Any]) -> str:
    source = (record.get("telemetry") or {}).get("gpu_energy_source")
    return f"by {source}" if source else ""


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
    kind: Callable[[Mapping[str, Any]], str] = _one_kind
    """Of what, or how, a record has it, where that may differ; empty: it does not, or is not known."""

    @property
    def is_response_time(self) -> bool:
        """Whether it is one that depends on the rate of requests above all."""
        return self.path[0] == RESPONSE_TIME

    def of(self, record: Mapping[str, Any]) -> float | None:
        """Return the figure of a record; None where it has none, or no finite one."""
        value: Any = record
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if is_number and abs(value) < BEYOND else None


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        each.name: each
        for each in (
            Figure(name="p50", unit="ms", path=(RESPONSE_TIME, "p50"), floor=0.1),
            Figure(name="p95", unit="ms", path=(RESPONSE_TIME, "p95"), floor=0.1),
            Figure(name="p99", unit="ms", path=(RESPONSE_TIME, "p99"), floor=0.1),
            Figure(name="throughput", unit="images/s", path=("images_per_s",), higher_is_better=True),
            Figure(
                name="efficiency", unit="", path=("serving_efficiency",), higher_is_better=True, floor=0.01
            ),
            Figure(
                name="memory",
                unit="GB",
                path=("figures", "memory_usage_gb"),
                floor=0.01,
                kind=_whose_memory,
            ),
            Figure(
                name="energy",
                unit="J/image",
                path=("telemetry", "joules_per_image"),
                kind=_energy_source,
            ),
        )
    }
)
"""By name, in the order of tables."""


def figure_named(name: str, *, what: str = "a comparison") -> Figure:
    """Return the figure; raises `PlanError`, said of ``what``, for a name that none has."""
    if name not in FIGURES:
        raise PlanError(
            f"{what} does not know the figure {name!r}{did_you_mean(name, FIGURES)}",
            next_step=f"use one of: {listed(FIGURES)}",
        )
    return FIGURES[name]
