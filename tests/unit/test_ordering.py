"""In which order benchmarks run: stacks take turns, and within a repeat nothing starts or loads twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.ordering import arrange, case_of
from pytest_servebench.plan import Case, Deployment, Precision
from tests.echo_house import ONNX, PYTORCH, case, deployment

STACKS = ("b", "a")


class Item:
    """What is looked at of a test."""

    def __init__(self, of: Case | None = None, *fixtures: str) -> None:
        self.fixturenames = fixtures
        if of is not None:
            self.callspec = SimpleNamespace(params={"case": of})


def items(*cases: Case) -> list[Any]:
    """Return tests with these cases."""
    return [Item(each) for each in cases]


def ordered(tests: list[Any]) -> list[str]:
    """Return the tests' cases in order, as few letters as tell them apart."""
    arrange(tests, STACKS)
    return [
        f"{found.stack}{found.deployment.format[0]}{found.repeat or ''}" if (found := case_of(one)) else "-"
        for one in tests
    ]


def replicates(repeats: Sequence[int | None]) -> list[Case]:
    """Return cases of two stacks and two formats, in an order that nobody wants."""
    made = [case(deployment(stack, model_format)) for model_format in (ONNX, PYTORCH) for stack in "ab"]
    return [replace(one, repeat=repeat) for one in made for repeat in repeats]


def test_stacks_take_turns() -> None:
    """A B, A B: a drifting machine is nobody's advantage; within a turn, deployment by deployment."""
    assert ordered(items(*replicates([1, 2]))) == ["bo1", "bp1", "ao1", "ap1", "bo2", "bp2", "ao2", "ap2"]


def test_without_repeats_each_stack_is_done_with_at_once() -> None:
    """Every stack's server starts once in a session."""
    assert ordered(items(*replicates([None]))) == ["bo", "bp", "ao", "ap"]


def test_what_is_not_repeated_is_no_replicates_past() -> None:
    """After the cases of the first repeat, so that the servers of all replicates were just started."""
    once = case(deployment("b", model="efficientnet_lite0"))
    tests: list[Any] = [Item(None, "b_server"), *items(once, *replicates([2, 1])), Item()]
    assert ordered(tests)[:6] == ["-", "bo1", "bp1", "-", "bo", "ao1"]
    assert tests[3].fixturenames == ("b_server",)


def test_a_test_with_a_server_comes_first_where_nothing_is_repeated() -> None:
    """Its stack's server is started once all the same."""
    tests: list[Any] = [*items(*replicates([None])), Item(None, "a_server")]
    assert ordered(tests) == ["bo", "bp", "-", "ao", "ap"]


def by_arithmetic(served: Deployment) -> str:
    """Group as NVIDIA's Triton does: models in TF32 have a server of their own."""
    return str(served.precision) if served.precision is Precision.TF32 else "ieee"


def of_precisions(repeats: Sequence[int | None]) -> list[Case]:
    """Return cases of one stack, two formats and three precisions."""
    made = [
        case(replace(deployment("b", model_format), precision=precision))
        for model_format in (ONNX, PYTORCH)
        for precision in (Precision.FP32, Precision.TF32, Precision.FP16)
    ]
    return [replace(one, repeat=repeat) for one in made for repeat in repeats]


@given(st.permutations(of_precisions([1, 2])))
def test_what_shares_a_server_comes_side_by_side(cases: list[Case]) -> None:
    """However collection mixes them, a group of a stack has one start in a repeat, a deployment one load."""
    tests = items(*cases)
    told = arrange(tests, STACKS, by_arithmetic)
    found = [one for test in tests if (one := case_of(test))]
    starts = [key for key, _ in groupby((one.repeat, by_arithmetic(one.deployment)) for one in found)]
    loads = [key for key, _ in groupby((one.repeat, one.deployment) for one in found)]
    assert len(starts) == 2 * 2
    assert len(loads) == 2 * 6
    assert by_arithmetic(found[0].deployment) == by_arithmetic(told[0]), "in order of first need"


def test_groups_of_different_stacks_are_different() -> None:
    """A word that two stacks have for a group joins nothing."""
    assert ordered(items(*replicates([None]))) == ["bo", "bp", "ao", "ap"]
    tests = items(*replicates([None]))
    arrange(tests, STACKS, lambda served: str(served.format))
    assert [(one.stack, one.deployment.format) for test in tests if (one := case_of(test))] == [
        (stack, model_format) for stack in STACKS for model_format in (ONNX, PYTORCH)
    ]


@given(st.permutations(replicates([1, 2, 3])))
def test_no_server_starts_and_no_model_loads_twice_in_a_repeat(cases: list[Case]) -> None:
    """Whatever the order of collection; and the deployments are told in order of first need."""
    tests = items(*cases)
    told = arrange(tests, STACKS)
    found = [one for test in tests if (one := case_of(test))]
    starts = [key for key, _ in groupby((one.repeat, one.stack) for one in found)]
    loads = [key for key, _ in groupby((one.repeat, one.deployment) for one in found)]
    assert starts == [(repeat, stack) for repeat in (1, 2, 3) for stack in STACKS]
    assert len(loads) == 3 * len(told) == 12
    assert told == tuple(dict.fromkeys(one.deployment for one in cases))
