"""What a server's own counters say about a window: pure differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any

from pytest_servebench.interfaces import ServerCounters
from pytest_servebench.results import Telemetry

_RATIOS = {
    "batch_size_achieved": ("images", "executions", 1.0),
    "queue_time_ms": ("queue_s", "requests", 1e3),
    "compute_time_ms": ("compute_s", "requests", 1e3),
    "compute_input_ms": ("compute_input_s", "requests", 1e3),
    "compute_infer_ms": ("compute_infer_s", "requests", 1e3),
    "compute_output_ms": ("compute_output_s", "requests", 1e3),
    "handler_time_ms": ("handler_s", "handler_calls", 1e3),
}
"""Figure: the counter above, the counter below, the factor to the figure's unit."""
FIGURES = (*_RATIOS, "executions", "batch_sizes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """Server-reported figures over a window, see `Telemetry`; None with the reason in ``absent``, by name."""

    batch_size_achieved: float | None = None
    queue_time_ms: float | None = None
    compute_time_ms: float | None = None
    compute_input_ms: float | None = None
    compute_infer_ms: float | None = None
    compute_output_ms: float | None = None
    handler_time_ms: float | None = None
    executions: int | None = None
    batch_sizes: Mapping[str, int] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def joined(self, telemetry: Telemetry) -> Telemetry:
        """Return ``telemetry`` with these figures in it."""
        figures = {name: getattr(self, name) for name in FIGURES}
        return replace(telemetry, **figures, absent={**telemetry.absent, **self.absent})


def achieved(before: ServerCounters, after: ServerCounters) -> Achieved:
    """Return what happened between two readings of a server's counters.

    A counter that went backwards means that the server was restarted: then no difference is worth
    anything and every figure is None. So does a batch size that is counted no more. What is no finite
    number is not reported.
    """
    before, after = _finite(before), _finite(after)
    first, last = _flat(before), _flat(after)
    if before.executions_by_batch and after.executions_by_batch is not None:
        last = dict.fromkeys(_by_size(before.executions_by_batch), 0.0) | last
    for name, value in first.items():
        if name in last and last[name] < value:
            return nothing(f"the counter {name} went backwards, {value:g} to {last[name]:g}: a restart")
    figures: dict[str, Any] = {name: _ratio(before, after, *how) for name, how in _RATIOS.items()}
    figures["executions"] = _executions(before, after)
    figures["batch_sizes"] = _batch_sizes(before, after)
    absent = {name: value for name, value in figures.items() if isinstance(value, str)}
    return Achieved(**{name: value for name, value in figures.items() if name not in absent}, absent=absent)


def nothing(reason: str) -> Achieved:
    """Return that there is no figure."""
    return Achieved(absent=dict.fromkeys(FIGURES, reason))


def _finite(counters: ServerCounters) -> ServerCounters:
    """Return them without those that are no numbers."""
    known = {each.name: getattr(counters, each.name) for each in fields(counters)}
    sizes = known.pop("executions_by_batch")
    return ServerCounters(
        **{name: value for name, value in known.items() if value is not None and isfinite(value)},
        executions_by_batch=sizes if sizes is not None and all(map(isfinite, sizes.values())) else None,
    )


def _flat(counters: ServerCounters) -> dict[str, float]:
    """Return every counter that the server reports, those by batch size among them."""
    known = {each.name: getattr(counters, each.name) for each in fields(counters)}
    by_size = _by_size(known.pop("executions_by_batch") or {})
    return {name: value for name, value in (known | by_size).items() if value is not None}


def _by_size(sizes: Mapping[str, float]) -> dict[str, float]:
    return {f"executions of {size}": count for size, count in sizes.items()}


def _ratio(
    before: ServerCounters, after: ServerCounters, above: str, below: str, factor: float
) -> float | str:
    """Return the ratio of two differences, or why there is none."""
    differences = []
    for name in (above, below):
        first, last = getattr(before, name), getattr(after, name)
        if first is None or last is None:
            return _unreported(name)
        differences.append(last - first)
    if differences[1] == 0:
        return f"no {below} in the window"
    return float(differences[0] / differences[1] * factor)


def _executions(before: ServerCounters, after: ServerCounters) -> int | str:
    if before.executions is None or after.executions is None:
        return _unreported("executions")
    return round(after.executions - before.executions)


def _batch_sizes(before: ServerCounters, after: ServerCounters) -> Mapping[str, int] | str:
    """Return the sizes that occurred; one that was not counted before began at 0."""
    first, last = before.executions_by_batch, after.executions_by_batch
    if first is None or last is None:
        return _unreported("executions_by_batch")
    grown = {size: round(count - first.get(size, 0.0)) for size, count in last.items()}
    return {size: count for size, count in grown.items() if count}


def _unreported(name: str) -> str:
    return f"the server does not report {name}"
