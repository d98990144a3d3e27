"""Which stacks are served as containers, and each as it then is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pytest_servebench.containers import ImageChoice
from pytest_servebench.interfaces import Containerised, Stack
from pytest_servebench.plan import Device, LauncherKind, Plan

ANY_IMAGE = ImageChoice()


def containerised(stack: Stack) -> Containerised | None:
    """Return the stack as a `Containerised` when it is one."""
    return cast("Containerised", stack) if hasattr(stack, "in_container") else None


def as_launched(
    stacks: Mapping[str, Stack],
    launcher: LauncherKind,
    device: Device,
    images: Mapping[str, ImageChoice],
) -> dict[str, Stack]:
    """Return ``stacks``, those that come as containers in that form where the launcher is docker."""
    launched = dict(stacks)
    for name, stack in stacks.items() if launcher is LauncherKind.DOCKER else ():
        form = containerised(stack)
        if form is not None:
            launched[name] = form.in_container(images.get(name, ANY_IMAGE), device)
    return launched


def stacks_of(plan: Plan, stacks: Mapping[str, Stack]) -> dict[str, Stack]:
    """Return ``stacks`` as ``plan`` serves them: an attached one stays what it is."""
    attached = {name: stacks[name] for name in plan.attached}
    return {**as_launched(stacks, plan.launcher, plan.device, plan.images), **attached}
