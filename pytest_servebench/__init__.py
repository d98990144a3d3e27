"""From pytest: bring model-serving stacks up, measure them honestly, fail the build when they get slower."""

from __future__ import annotations

from pytest_servebench.plan import Case, Deployment, Device, Load, ModelFormat, Payload, Plan, WireProtocol
from pytest_servebench.results import CaseResult, Summary, Validity, Verdict

__all__ = [
    "Case",
    "CaseResult",
    "Deployment",
    "Device",
    "Load",
    "ModelFormat",
    "Payload",
    "Plan",
    "Summary",
    "Validity",
    "Verdict",
    "WireProtocol",
]
