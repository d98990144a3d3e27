"""How a run is spread: who a worker is, and what belongs together."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_servebench.plan import Payload, Precision
from pytest_servebench.spreading import Turns, hands_out, has_case, scope_of, shares, turn_of
from tests.echo_house import case, deployment

STACKS = ("echo", "echo-two", "triton")


def config_of(worker: str = "", **options: str) -> Any:
    """Return what these functions look at of a configuration."""
    told = {"workerinput": {"workerid": worker}} if worker else {}
    return SimpleNamespace(option=SimpleNamespace(**options), **told)


@pytest.mark.parametrize(("worker", "turn"), [("", 0), ("gw0", 0), ("gw12", 12), ("mine", 0)])
def test_a_workers_turn_is_its_number(worker: str, turn: int) -> None:
    """A process without workers is the first."""
    assert turn_of(config_of(worker)) == turn


def test_a_replacement_has_the_turn_of_the_worker_that_was_lost() -> None:
    """By its number it would share another worker's lane, and leave the lost one's idle."""
    turns, workers = Turns(), [{"workerid": f"gw{i}"} for i in range(4)]
    for worker in workers[:3]:
        turns.give(worker)
    turns.take_back(workers[1])
    turns.take_back(workers[1])
    turns.give(workers[3])
    assert [turn_of(SimpleNamespace(workerinput=worker)) for worker in workers] == [0, 1, 2, 1]


def test_only_the_controller_hands_out() -> None:
    """Without pytest-xdist, without workers and inside one of them, tests are run."""
    assert hands_out(config_of(dist="load"))
    assert not hands_out(config_of(dist="no"))
    assert not hands_out(config_of())
    assert not hands_out(config_of("gw0", dist="load"))


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("around", ["{}", "red-{}", "{}-blue", "red-{}-1"])
def test_cases_of_a_stack_belong_together(stack: str, around: str) -> None:
    """Wherever the case stands in the id, and whatever other stacks are called."""
    name = around.format(case(deployment(stack)).id)
    assert scope_of(f"bench/test_it.py::test_speed[{name}]", [[one] for one in STACKS]) == f"stack {stack}"


@pytest.mark.parametrize("precision", Precision, ids=str)
@pytest.mark.parametrize("payload", Payload, ids=str)
def test_a_case_is_one_in_whatever_precision_and_payload(precision: Precision, payload: Payload) -> None:
    """All that an id may hold: otherwise it is neither counted nor run with its stack's others."""
    one = replace(case(replace(deployment("triton"), precision=precision)), payload=payload)
    assert has_case(f"test_it.py::test_speed[{one.id}]", STACKS)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_stacks_that_take_turns_are_dealt_out(workers: int) -> None:
    """Each to one worker; the cases of all that a worker has are run together, so it can interleave them."""
    dealt = shares(STACKS, workers)
    assert sorted(stack for share in dealt for stack in share) == sorted(STACKS)
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    assert len(dealt) == min(workers, 3)
    scopes = [scope_of(f"t.py::t[{case(deployment(stack)).id}-r2]", dealt) for stack in STACKS]
    assert len(set(scopes)) == len(dealt)
    assert shares(STACKS, 2) == [["echo", "triton"], ["echo-two"]]


@pytest.mark.parametrize(
    "node_id",
    [
        "test_it.py::test_plain",
        "test_it.py::test_plain[triton]",
        "test_triton.py::test_it[onnx-tensor-http-b1-i1]",
        "test_it.py::test_speed[other-onnx-tensor-http-b1-i1-c2]",
        "test_it.py::test_speed[no-stack-chosen]",
    ],
)
def test_every_other_test_is_on_its_own(node_id: str) -> None:
    """The name of a stack alone is no case of it."""
    assert scope_of(node_id, [STACKS]) == node_id
