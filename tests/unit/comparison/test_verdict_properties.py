"""What holds of verdicts whatever the figures are: of units, sides, order, slower runs and broken ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.comparison.changes import Change, ChangeLimit, ChangeVerdict, Doubt
from pytest_servebench.comparison.regression import changes_of, sentence
from tests.compared import repeated, words

Sample = list[float]
Family = Sequence[tuple[Sequence[float | None], Sequence[float | None]]]
Sound = list[tuple[Sample, Sample]]

SWAPPED = {
    ChangeVerdict.REGRESSION: ChangeVerdict.IMPROVEMENT,
    ChangeVerdict.IMPROVEMENT: ChangeVerdict.REGRESSION,
}


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Return 4 to 6 figures around one of a few levels, so that all verdicts come about."""
    level = draw(st.sampled_from([1000, 1030, 1060, 1200]))
    count = draw(st.integers(4, 6))
    spread = draw(st.sampled_from([0, 5, 80]))
    return [float(level + draw(st.integers(-spread, spread))) for _ in range(count)]


families = st.lists(st.tuples(samples(), samples()), min_size=1, max_size=4)
figures = st.sampled_from(["p95", "throughput"])


def judged(family: Family, figure: str, *, floor: float = 5.0) -> tuple[Change, ...]:
    """Return the changes of cases with these figures, at a limit of 5%."""
    before, now = (
        [
            record
            for number, sides in enumerate(family)
            for record in repeated(sides[side], figure, case=str(number))
        ]
        for side in (0, 1)
    )
    return changes_of(before, now, limits=[ChangeLimit(figure=figure, share=0.05, floor=floor)])


@given(families, figures, st.sampled_from([0.001, 0.1, 7.0, 1000.0]))
def test_the_unit_changes_no_verdict(family: Sound, figure: str, factor: float) -> None:
    """Milliseconds or seconds: with the floor in the same unit every verdict and p is the same."""
    other = [([factor * at for at in before], [factor * at for at in now]) for before, now in family]
    one, scaled = judged(family, figure), judged(other, figure, floor=5 * factor)
    assert words(one) == words(scaled)
    assert [change.p_value for change in one] == [change.p_value for change in scaled]
    assert [change.change for change in one] == pytest.approx([change.change for change in scaled], abs=1e-9)


@given(families, figures)
def test_swapped_sides_swap_regression_and_improvement(family: Sound, figure: str) -> None:
    """Neither direction is easier to prove than the other."""
    forth = judged(family, figure)
    back = judged([(now, before) for before, now in family], figure)
    for change, other in zip(forth, back, strict=True):
        assert SWAPPED.get(change.verdict) == (other.verdict if other.verdict in SWAPPED else None)


@given(families, figures, st.data())
def test_slower_is_never_a_pass(family: Sound, figure: str, data: st.DataObject) -> None:
    """A regression, with any of its figures now even worse, is a regression or a doubt."""
    slowdowns = st.sampled_from([1.0, 1.01, 1.5, 10.0])
    worse = [
        (before, [at * data.draw(slowdowns) ** (-1 if figure == "throughput" else 1) for at in now])
        for before, now in family
    ]
    for change, after in zip(judged(family, figure), judged(worse, figure), strict=True):
        if change.fails:
            assert after.verdict in {ChangeVerdict.REGRESSION, ChangeVerdict.INCONCLUSIVE}


@given(families, figures, st.data())
def test_the_order_of_replicates_means_nothing(family: Sound, figure: str, data: st.DataObject) -> None:
    """Whichever repeat came first, every change is the same to the last digit."""
    mixed = [tuple(data.draw(st.permutations(side)) for side in sides) for sides in family]
    assert judged(family, figure) == judged([(before, now) for before, now in mixed], figure)


@given(families, figures, st.sampled_from([None, math.nan, math.inf, 0.0, -1.0]), st.data())
def test_a_broken_figure_is_never_a_pass(
    family: Sound, figure: str, broken: float | None, data: st.DataObject
) -> None:
    """One replicate without a number, or with an impossible one, leaves its case inconclusive."""
    number, side = data.draw(st.integers(0, len(family) - 1)), data.draw(st.integers(0, 1))
    sides: list[Sequence[float | None]] = [list(each) for each in family[number]]
    place = data.draw(st.integers(0, len(sides[side]) - 1))
    sides[side] = [broken if at == place else value for at, value in enumerate(sides[side])]
    spoiled = [*family[:number], (sides[0], sides[1]), *family[number + 1 :]]
    change = judged(spoiled, figure)[number]
    assert change.verdict is ChangeVerdict.INCONCLUSIVE
    assert change.doubt in {Doubt.MISSING, Doubt.INVALID}


@given(samples(), samples(), st.sampled_from(["unstable", None]), st.data())
def test_a_run_that_is_not_valid_is_never_a_pass(
    before: Sample, now: Sample, validity: str | None, data: st.DataObject
) -> None:
    """Whatever the figures of the others say."""
    sides = [repeated(side) for side in (before, now)]
    spoiled = data.draw(st.sampled_from([record for side in sides for record in side]))
    spoiled["validity"] = validity
    (change,) = changes_of(*sides, limits=[ChangeLimit(figure="p95", share=0.05)])
    assert (change.verdict, change.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.INVALID)


@given(*[st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=6) for _ in range(2)], figures)
def test_any_figures_give_a_verdict_and_a_line(before: Sample, now: Sample, figure: str) -> None:
    """Tiny, giant and lonely figures crash nothing and warn of nothing (a warning is an error here)."""
    (change,) = judged([(before, now)], figure, floor=0)
    assert sentence(change).startswith(f"{change.verdict}: ")


def test_the_families_hold_every_verdict() -> None:
    """Properties of regressions are tested on regressions: the figures drawn lead to each verdict."""
    levels = [1000.0 + number for number in range(5)]
    family = [
        (levels, levels),
        (levels, [at * 1.2 for at in levels]),
        ([at * 1.2 for at in levels], levels),
        (levels, [920.0, 1080.0, 1060.0, 950.0, 1070.0]),
    ]
    assert words(judged(family, "p95")) == ["pass", "regression", "improvement", "noise"]
