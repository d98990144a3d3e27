"""Repeats as a person reads them: the header's line, and one row for all replicates of a case."""

from __future__ import annotations

from pytest_servebench.plan import Plan


def repeats_text(plan: Plan) -> str:
    """Return how often what is measured, and in which order; empty where nothing is repeated."""
    if plan.repeats == 1:
        return ""
    turns = " ".join(plan.stacks)
    order = f": {turns}, {turns}, ..." if len(plan.stacks) > 1 else ""
    running = ", ".join(stack for stack in plan.stacks if stack in plan.attached)
    but = f"; {running} runs already and is not restarted" if running else ""
    return f"{plan.repeats}, each with a server started anew{order}{but}"
