"""What a server's own counters say about a window: pure differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from pytest_servebench.interfaces import ServerCounters

_FIGURES = {
    "batch_size_achieved": ("images", "executions", 1.0),
    "queue_time_ms": ("queue_s", "requests", 1e3),
    "compute_time_ms": ("compute_s", "requests", 1e3),
}
"""Figure: the counter above, the counter below, the factor to the figure's unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Achieved:
    """Server-reported means over a window; None with the reason in ``absent`` by field name."""

    batch_size_achieved: float | None = None
    """Images per model execution."""
    queue_time_ms: float | None = None
    """Per request."""
    compute_time_ms: float | None = None
    """Per request."""
    absent: Mapping[str, str] = field(default_factory=dict)


def achieved(before: ServerCounters | None, after: ServerCounters | None) -> Achieved:
    """Return what happened between two readings of a server's counters.

    A reading is None when the server reports none. A counter that went backwards means that the
    server was restarted: then no difference is worth anything and every figure is None.
    """
    if before is None or after is None:
        return _nothing("the server reports no counters")
    for counter in fields(ServerCounters):
        first, last = getattr(before, counter.name), getattr(after, counter.name)
        if first is not None and last is not None and last < first:
            return _nothing(f"the counter {counter.name} went backwards, {first:g} to {last:g}: a restart")
    figures = {name: _ratio(before, after, *how) for name, how in _FIGURES.items()}
    return Achieved(
        **{name: value for name, value in figures.items() if isinstance(value, float)},
        absent={name: value for name, value in figures.items() if isinstance(value, str)},
    )


def _ratio(
    before: ServerCounters, after: ServerCounters, above: str, below: str, factor: float
) -> float | str:
    """Return the ratio of two differences, or why there is none."""
    differences = []
    for name in (above, below):
        first, last = getattr(before, name), getattr(after, name)
        if first is None or last is None:
            return f"the server does not report {name}"
        differences.append(last - first)
    if differences[1] == 0:
        return f"no {below} in the window"
    return float(differences[0] / differences[1] * factor)


def _nothing(reason: str) -> Achieved:
    return Achieved(absent=dict.fromkeys(_FIGURES, reason))
