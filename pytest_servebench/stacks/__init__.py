"""How each server is described; no sockets, no Docker."""

from __future__ import annotations

from pytest_servebench.interfaces import Stack
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton


def built_in_stacks() -> tuple[Stack, ...]:
    """Return the stacks that come with the package, in the order of ``--stack=all``."""
    return (Fastapi(), Triton(), Torchserve())
