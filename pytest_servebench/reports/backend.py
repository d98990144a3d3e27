"""What served a case, in words: as its server said, else as it was asked (pure)."""

from __future__ import annotations

from typing import Any

from pytest_servebench.comparison.replicates import Record

_TOLD = ("engine", "provider", "device", "precision")


def backend_of(record: Record) -> Any:  # noqa: ANN401 (a text, or null in a record that lacks it)
    """Return engine and version, provider, device and precision as measured; else the backend asked for."""
    served = record.get("served") or {}
    told = [str(served[name]) for name in _TOLD if served.get(name)]
    return ", ".join(told) or record.get("backend")
