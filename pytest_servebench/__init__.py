"""From pytest: bring model-serving stacks up, measure them honestly, fail the build when they get slower.

The names a benchmark author types.
"""

from __future__ import annotations

from pytest_servebench.plan import Case, Deployment, Device, Load, ModelFormat, Payload, Plan, WireProtocol
from pytest_servebench.results import CaseResult, Summary, Validity, Verdict
from pytest_servebench.session import NamedAnswer, Servebench

__all__ = [
    "Case",
    "CaseResult",
    "Deployment",
    "Device",
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
