"""Asks for plans as a command line would, for tests of plans."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_servebench.options.given import (
    Given,
)
from pytest_servebench.options.option import OPTIONS
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.options.planning import plan_for
from pytest_servebench.plan import Plan
from tests.offered_stack import (
    THREE,
    BareStack,
)

NO_GPU = Surroundings(logical_cores=2, cuda_absent="the NVIDIA driver is not installed")
ONE_GPU = Surroundings(logical_cores=16, cuda_devices=("NVIDIA GeForce RTX 4090",))
TWO_GPUS = Surroundings(
    logical_cores=16,
    cuda_devices=("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3060"),
    cuda_uuids=("GPU-a", "GPU-b"),
)
DOCKER = Surroundings(
    logical_cores=16,
    cuda_devices=("NVIDIA GeForce RTX 4090",),
    docker_engine="29.1",
    nvidia_runtime=True,
)


def given(text: str, flag: str = "--serve-x") -> Given:
    """Return ``text`` as given on the command line."""
    return Given(flag=flag, text=text)


def plan(
    surroundings: Surroundings = NO_GPU,
    offered: Mapping[str, BareStack] | None = None,
    **asked: str,
) -> Plan:
    """Return the plan for options spelled as keywords."""
    flags = {option.key: option.flag for option in OPTIONS}
    keyed = {key.replace("_", "-"): text for key, text in asked.items()}
    return plan_for(
        {key: given(text, flags[key]) for key, text in keyed.items()},
        dict(THREE) if offered is None else offered,
        surroundings,
    )


def offers(*stacks: BareStack) -> dict[str, BareStack]:
    """Return stacks by name."""
    return {stack.name: stack for stack in stacks}
