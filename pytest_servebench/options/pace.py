"""When a benchmark's requests begin: what its marker says, and what the user asked for (pure)."""

from __future__ import annotations

from pytest_servebench.arrivals import REFERENCE, Arrivals, Staged
from pytest_servebench.plan import Plan

STAGED = "staged"
"""A marker's word: stages as the user asks for them, the reference's when only their scale is asked for,
and no case when neither is."""


def pace_of(plan: Plan, marked: Arrivals | str | None) -> Arrivals | None:
    """Return the arrivals of a benchmark whose marker says ``marked``; empty: it says nothing."""
    if marked is None:
        return None
    if marked == STAGED:
        return _scaled(plan, _stages(plan))
    if isinstance(marked, str) or "arrivals" in plan.settings:
        return _scaled(plan, plan.arrivals)
    return _scaled(plan, marked)


def _stages(plan: Plan) -> Staged | None:
    if isinstance(plan.arrivals, Staged):
        return plan.arrivals
    return None if plan.load_scale is None else REFERENCE


def _scaled(plan: Plan, arrivals: Arrivals | None) -> Arrivals | None:
    if plan.load_scale is None or not isinstance(arrivals, Staged):
        return arrivals
    return arrivals.scaled(plan.load_scale)
