"""In which order benchmarks run: repeats, in each its stacks, in each its servers, in each its deployments.

So stacks take turns, A B C, A B C: a machine that gets warmer, or busier, while they are measured is
nobody's advantage. And within a repeat each server starts once and each model loads once.

It belongs to the reception, so it knows pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pytest_servebench.plan import Case, Deployment

Place = tuple[int, int, bool, int, int]
FIRST = -1
LAST = 1_000_000
FINDINGS = "servebench_findings"
"""The fixture of tests that ask what all others have found."""


def case_of(item: pytest.Item) -> Case | None:
    """Return the case that a test was given; None for one without."""
    callspec = getattr(item, "callspec", None)
    case = None if callspec is None else callspec.params.get("case")
    return case if isinstance(case, Case) else None


def arrange(
    items: list[pytest.Item],
    stacks: Sequence[str],
    group_of: Callable[[Deployment], str] = lambda _: "",
) -> tuple[Deployment, ...]:
    """Order benchmarks in place, and return their deployments in order of first need.

    ``group_of`` says what deployments of a stack have in common that one launch of it can serve
    (`interfaces.LaunchGrouping`): they come side by side, else a server would start anew for each.
    What was deselected is no longer needed. A test of a stack that is not repeated comes before the
    stack's cases, where nothing is; else after those of the first repeat, whose servers then have done
    nothing before that those of other repeats have not. A test that asks for findings comes after all.
    """
    cases = {item: case for item in items if (case := case_of(item))}
    deployments = {d: i for i, d in enumerate(dict.fromkeys(case.deployment for case in cases.values()))}
    servers: dict[tuple[str, str], int] = {}
    first = {d: servers.setdefault((d.stack, group_of(d)), i) for d, i in deployments.items()}
    repeats = any(case.repeat for case in cases.values())

    def place(item: pytest.Item) -> Place:
        case = cases.get(item)
        if asks_for_findings(item):
            return LAST, LAST, True, LAST, LAST
        if case is None:
            stack = _stack_used(item, stacks)
            return 1, stack, repeats and stack != FIRST, FIRST, FIRST
        stack = stacks.index(case.stack) if case.stack in stacks else FIRST
        served = case.deployment
        return case.repeat or 1, stack, repeats and not case.repeat, first[served], deployments[served]

    items.sort(key=place)
    return tuple(deployments)


def asks_for_findings(item: pytest.Item) -> bool:
    """Return whether a test measures nothing itself, but asks what was found."""
    return FINDINGS in getattr(item, "fixturenames", ())


def _stack_used(item: pytest.Item, stacks: Sequence[str]) -> int:
    """Return the place of the first stack that a test without a case uses by its fixture."""
    fixtures = getattr(item, "fixturenames", ())
    return next((i for i, stack in enumerate(stacks) if f"{stack}_server" in fixtures), FIRST)
