"""From pytest: bring model-serving stacks up, measure them honestly, fail the build when they get slower.

The names a benchmark author types. They are imported when they are first used: a process that
needs one room (a guardian, an export) should not wait for the whole house.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_servebench.capacity import Capacity
    from pytest_servebench.plan import (
        Case,
        Deployment,
        Device,
        Load,
        ModelFormat,
        Payload,
        Plan,
        WireProtocol,
    )
    from pytest_servebench.reports.findings.finding import Answer, Claim, Findings
    from pytest_servebench.results import CaseResult, Endpoint, Summary, Validity, Verdict
    from pytest_servebench.session import NamedAnswer, Servebench

_HOME = {
    "capacity": ("Capacity",),
    "plan": ("Case", "Deployment", "Device", "Load", "ModelFormat", "Payload", "Plan", "WireProtocol"),
    "reports.findings.finding": ("Answer", "Claim", "Findings"),
    "results": ("CaseResult", "Endpoint", "Summary", "Validity", "Verdict"),
    "session": ("NamedAnswer", "Servebench"),
}

__all__ = [
    "Answer",
    "Capacity",
    "Case",
    "CaseResult",
    "Claim",
    "Deployment",
    "Device",
    "Endpoint",
    "Findings",
    "Load",
    "ModelFormat",
    "NamedAnswer",
    "Payload",
    "Plan",
    "Servebench",
    "Summary",
    "Validity",
    "Verdict",
    "WireProtocol",
]


def __getattr__(name: str) -> object:
    """Import a public name from the room it lives in."""
    for room, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
