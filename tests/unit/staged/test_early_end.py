"""A load whose hold has missed the objective need not go on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pytest_servebench.arrivals import Poisson
from pytest_servebench.load.helm import LocalHelm
from pytest_servebench.load.stage_helm import StageHelm, helm_of
from pytest_servebench.plan import Load
from pytest_servebench.samples import Outcome, Slice
from pytest_servebench.staged.early_end import missed_hold
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.slices import window_slices
from tests.staged_loads import START_NS, Serving, between, quick, served, staged_load

NS = 10**9
AT_ONCE = staged_load(abort_after_s=0.0)


def seen(serve: Serving, until_s: float, load: Load = AT_ONCE) -> Sequence[Slice]:
    """Return the window's slices of a load that has run so long."""
    return window_slices(served(load, serve, until_s=until_s))


def missed(serve: Serving, until_s: float, load: Load = AT_ONCE) -> int | None:
    """Return the number of the stage that has missed its objective by then."""
    span = missed_hold(seen(serve, until_s, load), load)
    return None if span is None else span.number


def test_a_hold_that_holds_does_not_end_the_load() -> None:
    """Nor does one that has hardly begun."""
    assert missed(quick, 30) is None
    assert missed(between(10, 30, 90.0), 10.02) is None
    assert missed_hold((), AT_ONCE) is None


def test_a_hold_that_is_slow_ends_it_as_soon_as_that_is_sure() -> None:
    """Two slow requests could be chance; twenty among twenty cannot, for nobody waits for the hold's end."""
    assert missed(between(10, 30, 90.0), 10.5) == 2
    assert missed(between(40, 60, 90.0), 41.0) == 4


def test_failures_end_it_too() -> None:
    """A server that answers with errors answers quickly."""
    errors = served(AT_ONCE, between(10, 30, Outcome.HTTP_ERROR), until_s=12.0)
    received = np.where(errors.received_ns < 0, errors.intended_ns + 10**6, errors.received_ns)
    object.__setattr__(errors, "received_ns", received)
    span = missed_hold(window_slices(errors), AT_ONCE)
    assert span is not None
    assert span.number == 2


def test_ramps_end_nothing() -> None:
    """What they do is not judged."""
    assert missed(between(30, 39, 90.0), 40) is None


def test_the_delay_is_from_the_start_of_the_load() -> None:
    """As with k6's delayAbortEval: before it nothing is looked at, after it everything since the start."""
    load = staged_load(abort_after_s=25.0)
    slow = between(10, 20, 90.0)
    assert missed(slow, 24.0, load) is None
    assert missed(slow, 26.0, load) == 2


def test_a_warm_up_is_part_of_the_delay_and_of_no_hold() -> None:
    """The window's first slice begins where the warm-up ends."""
    load = staged_load(warmup_s=12.0, duration_s=58.0, abort_after_s=0.0)
    assert missed(between(12, 20, 90.0), 14.0, load) == 2
    assert missed(between(10, 12, 90.0), 20.0, load) is None


@pytest.mark.parametrize(
    "load",
    [
        staged_load(),
        staged_load(abort_after_s=0.0, objective=None),
        Load(arrivals=Poisson(50), abort_after_s=0.0, objective=AT_ONCE.objective),
    ],
    ids=["not-asked-for", "no-objective", "no-stages"],
)
def test_nothing_else_ends_early(load: Load) -> None:
    """Ending early is a choice, and a matter of stages and objectives."""
    slices = [slow_slice(number) for number in range(100)]
    assert missed_hold(slices, load) is None


def slow_slice(number: int) -> Slice:
    """Return a tenth of a second in which 100 replies took 90 ms each."""
    begin_ns = START_NS + number * NS // 10
    return Slice(
        begin_ns=begin_ns,
        end_ns=begin_ns + NS // 10,
        offered=100,
        sent=100,
        correct=100,
        response_times=Histogram.of(np.full(100, 90_000_000)),
    )


def test_the_helm_looks_every_two_seconds() -> None:
    """A look takes some of the time in which requests are due."""
    helm = StageHelm(AT_ONCE, LocalHelm(AT_ONCE))
    slow = [slow_slice(number) for number in range(200)]
    assert helm.enough(slow[:50], START_NS) is None
    assert helm.enough(slow, START_NS + 19 * NS // 10) is None
    assert helm.enough(slow, START_NS + 2 * NS) == START_NS + 2 * NS


def test_only_a_load_that_asks_for_it_has_this_helm() -> None:
    """And it leaves the warm-up to the one that every load has."""
    assert isinstance(helm_of(staged_load()), LocalHelm)
    assert isinstance(helm_of(AT_ONCE), StageHelm)
    assert helm_of(AT_ONCE).warmed_up([slow_slice(0)], START_NS) is None
