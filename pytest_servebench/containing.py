"""Which stacks are served as containers, and each as it then is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pytest_servebench.containers import ImageChoice
from pytest_servebench.interfaces import Containerised, Stack
from pytest_servebench.plan import LauncherKind, Plan


def containerised(stack: Stack) -> Containerised | None:
    """Return the stack as a `Containerised` when it is one."""
    return cast("Containerised", stack) if hasattr(stack, "in_container") else None


def stacks_of(plan: Plan, stacks: Mapping[str, Stack]) -> dict[str, Stack]:
    """Return ``stacks`` as ``plan`` serves them: in containers, or as they are; attached ones always so."""
    return {name: _as_served(plan, name, stack) for name, stack in stacks.items()}


def _as_served(plan: Plan, name: str, stack: Stack) -> Stack:
    form = containerised(stack) if plan.launcher is LauncherKind.DOCKER else None
    if form is None or name in plan.attached:
        return stack
    return form.in_container(plan.images.get(name, ImageChoice()), plan.device)
