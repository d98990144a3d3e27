"""When a benchmark's requests begin: what its marker says, and what the user asked for (pure)."""

from __future__ import annotations

from pytest_servebench.arrivals import REFERENCE, Arrivals, Staged
from pytest_servebench.errors import PlanError
from pytest_servebench.options.arrivals import HIGHEST_PER_S
from pytest_servebench.plan import Plan

STAGED = "staged"
"""A marker's word: stages as the user asks for them, the reference's when only their scale is asked for,
and no case when neither is."""


def pace_of(plan: Plan, marked: Arrivals | str | None) -> Arrivals | None:
    """Return the arrivals of a benchmark whose marker says ``marked``; empty: it says nothing.

    Raises `PlanError` for a scale that makes rates which could not be asked for either.
    """
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
    scaled = arrivals.scaled(plan.load_scale)
    if scaled.peak_per_s > HIGHEST_PER_S:
        raise PlanError(
            f"--serve-load-scale makes a rate of {scaled.peak_per_s:.15g}/s, above {HIGHEST_PER_S:.15g}/s",
            where=f"--serve-load-scale={plan.load_scale:g}",
            seen=f"{arrivals}, with {arrivals.peak_per_s:g}/s at the highest",
            next_step=f"give a scale of at most {HIGHEST_PER_S / arrivals.peak_per_s:g}",
        )
    return scaled
