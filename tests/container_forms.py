"""The stacks as containers, in every form there is, for tests that all must pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from pytest_servebench.containers import ImageChoice
from pytest_servebench.interfaces import Containerised, Stack
from pytest_servebench.plan import CPU, Deployment, Device
from pytest_servebench.stacks import built_in_stacks
from tests.every_stack import deployments_of

CHOICES = {
    "built": ImageChoice(),
    "built-on": ImageChoice(base="mine:1", wheels_path=Path("/wheels")),
    "named": ImageChoice(reference="registry.example/mine:2"),
}
GPU = Device("cuda", 3)


@dataclass(frozen=True, slots=True)
class Form:
    """A stack as a local process, and the same in a container."""

    process: Stack
    contained: Stack
    choice: ImageChoice
    device: Device

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """The usual deployments, on the device of this form."""
        return tuple(replace(each, device=self.device) for each in deployments_of(self.process))


def in_container(stack: Stack, choice: ImageChoice, device: Device = CPU) -> Stack:
    """Return the container form of a stack that has one."""
    return cast("Containerised", stack).in_container(choice, device)


FORMS = {
    f"{stack.name}-{said}-{device.kind}": Form(stack, in_container(stack, choice, device), choice, device)
    for stack in built_in_stacks()
    for said, choice in CHOICES.items()
    for device in (CPU, GPU)
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
WITH_GPU = {name: form for name, form in FORMS.items() if form.device == GPU}
each_form_with_gpu = pytest.mark.parametrize("form", WITH_GPU.values(), ids=WITH_GPU.keys())
