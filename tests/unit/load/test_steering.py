"""One decision for all workers: asked of all their slices, and told before its instant."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_servebench.load.steering import STEPS_AHEAD, Steering, stages_steered
from pytest_servebench.load.window import Stage
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice

STEP = 100
LEAD = 30


class Counting:
    """A helm that ends a stage once it has so many slices, and remembers what it was shown."""

    def __init__(self, after: int = 10**9) -> None:
        self.shown: list[tuple[str, int, int]] = []
        self._after = after

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return self._ask("warm-up", slices, now_ns)

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        return self._ask("window", slices, now_ns)

    def _ask(self, stage: str, slices: Sequence[Slice], now_ns: int) -> int | None:
        self.shown.append((stage, len(slices), sum(one.sent for one in slices)))
        return now_ns if len(slices) >= self._after else None


def slice_at(number: int, sent: int = 1) -> Slice:
    """Return the slice with this number."""
    return Slice(begin_ns=number * STEP, end_ns=(number + 1) * STEP, offered=sent, sent=sent)


def told(steering: Steering, worker: int, *numbers: int, stage: Stage = Stage.WARM_UP) -> int | None:
    """Let one worker tell of slices, one by one, and return what is decided then."""
    edge = None
    for number in numbers:
        steering.hear(worker, stage, [slice_at(number)], whole=False)
        edge = steering.edge_ns((number + 1) * STEP, LEAD) or edge
    return edge


def test_the_helm_is_asked_once_all_have_told_and_of_all_together() -> None:
    """One worker's slices are half the truth; each further slice of all is one question."""
    helm = Counting()
    steering = Steering(Load(), 2, helm)
    told(steering, 0, 0, 1, 2)
    assert helm.shown == []
    told(steering, 1, 0)
    told(steering, 1, 1)
    assert [(stage, slices) for stage, slices, _ in helm.shown] == [("warm-up", 1), ("warm-up", 2)]
    assert helm.shown[-1][2] == 5  # all of the longer line too: its rest lies in the last slice


def test_the_edge_lies_ahead_of_every_worker() -> None:
    """Each asks at its next slice, so the instant is later than that, and than the news needs."""
    steering = Steering(Load(), 2, Counting(after=2))
    told(steering, 0, 0, 1, 2)
    assert told(steering, 1, 0) is None
    assert told(steering, 1, 1) == 3 * STEP + STEPS_AHEAD * STEP
    late = Steering(Load(), 1, Counting(after=1))
    late.hear(0, Stage.WARM_UP, [slice_at(0)], whole=False)
    assert late.edge_ns(10 * STEP, LEAD) == 10 * STEP + LEAD


def test_a_stage_is_decided_once_and_the_window_after_the_warm_up() -> None:
    """What is still told of a stage that is over counts for nobody."""
    helm = Counting(after=1)
    steering = Steering(Load(), 1, helm)
    assert told(steering, 0, 0) is not None
    assert str(steering.stage) == str(Stage.MEASURING)
    assert told(steering, 0, 1, 2) is None
    assert told(steering, 0, 3, stage=Stage.MEASURING) is not None
    assert str(steering.stage) == str(Stage.DRAINING)
    assert told(steering, 0, 4, stage=Stage.MEASURING) is None
    assert [stage for stage, _, _ in helm.shown] == ["warm-up", "window"]


def test_a_warm_up_that_reaches_its_limit_is_over_without_a_decision() -> None:
    """The workers go over by themselves, and what they tell then is of the window."""
    helm = Counting(after=2)
    steering = Steering(Load(), 1, helm)
    told(steering, 0, 0)
    assert told(steering, 0, 1, stage=Stage.MEASURING) is None
    assert told(steering, 0, 2, stage=Stage.MEASURING) is not None
    assert [stage for stage, _, _ in helm.shown] == ["warm-up", "window", "window"]


def test_a_line_that_was_made_coarser_is_told_anew() -> None:
    """Long loads join slices two by two: the whole line stands in for what was told before."""
    helm = Counting()
    steering = Steering(Load(), 1, helm)
    told(steering, 0, 0, 1, 2)
    steering.hear(0, Stage.WARM_UP, [slice_at(0) + slice_at(1), slice_at(2)], whole=True)
    steering.edge_ns(3 * STEP, LEAD)
    assert helm.shown[-1] == ("warm-up", 2, 3)


@pytest.mark.parametrize(
    ("load", "helm", "expected"),
    [
        (Load(), None, ()),
        (Load(steady=True), None, ("warm-up",)),
        (Load(precision=0.05), None, ("measuring",)),
        (Load(), Counting(), ("warm-up", "measuring")),
    ],
)
def test_only_what_somebody_decides_is_told(
    load: Load, helm: Counting | None, expected: tuple[str, ...]
) -> None:
    """Slices cost a worker some time, so none are sent where every length is fixed."""
    assert stages_steered(load, helm) == expected
