"""The stacks that a session can choose from: those of every plugin and conftest.py, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack


def stack_names(config: pytest.Config) -> tuple[str, ...]:
    """Return the name of every stack that can be chosen."""
    given = reversed(config.hook.pytest_servebench_stacks(config=config))
    return tuple(dict.fromkeys(stack.name for stacks in given for stack in stacks))


def offered_stacks(config: pytest.Config) -> dict[str, Stack]:
    """Return every stack by name; two of one name are an error that names both."""
    offered: dict[str, Stack] = {}
    # The last plugin to register is called first: the built-in stacks, registered first, come first.
    for stacks in reversed(config.hook.pytest_servebench_stacks(config=config)):
        for stack in _checked(stacks):
            if stack.name in offered:
                raise PlanError(
                    f"two stacks are called {stack.name!r}",
                    seen=f"{_origin(offered[stack.name])} and {_origin(stack)}",
                    next_step="rename one of them",
                )
            offered[stack.name] = stack
    return offered


def _checked(stacks: object) -> Sequence[Stack]:
    """Return what a hook gave, if it is stacks."""
    given: Sequence[Any] = stacks if isinstance(stacks, (list, tuple)) else [stacks]
    members = [name for name in vars(Stack) if not name.startswith("_")]
    for one in given:
        lacks = [name for name in members if not hasattr(one, name)]
        word = getattr(one, "name", None)
        if lacks or not isinstance(word, str) or not word or set(word) & set(",= "):
            raise PlanError(
                "a pytest_servebench_stacks hook gave something that is no stack",
                seen=f"{one!r}, which lacks {', '.join(lacks) or 'a name without comma, = and space'}",
                next_step="return a list of objects with every member of pytest_servebench.interfaces.Stack",
            )
    return given


def _origin(stack: Stack) -> str:
    return f"{type(stack).__module__}.{type(stack).__qualname__}"
