"""Tests and intervals agree with SciPy's and with what they are defined as, and hold what they promise."""

from __future__ import annotations

from math import comb, isfinite

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, permutation_test, ttest_ind

from pytest_servebench.comparison.significance import (
    MOST_EXACT,
    adjusted,
    is_enough,
    rank_p,
    repeats_needed,
    shift_of,
    smallest_p,
    welch_p,
)

Numbers = npt.NDArray[np.float64]
few_kinds = st.lists(st.integers(1, 4).map(float), min_size=2, max_size=4)
figures = st.lists(st.floats(0.01, 1e6), min_size=2, max_size=7)
distinct = st.lists(st.integers(1000, 3000).map(float), min_size=9, max_size=14, unique=True)


def u_statistic(one: Numbers, other: Numbers, axis: int) -> Numbers:
    """Return how many pairs have the greater value in ``one``, ties as halves: U by its definition."""
    a, b = np.moveaxis(one, axis, -1)[..., :, None], np.moveaxis(other, axis, -1)[..., None, :]
    counted: Numbers = ((a > b) + 0.5 * (a == b)).sum(axis=(-1, -2))
    return counted


@given(few_kinds, few_kinds)
def test_with_ties_the_rank_test_is_that_over_all_permutations(
    lower: list[float], higher: list[float]
) -> None:
    """Figures that repeat (bytes, rounded times) have an exact p too; SciPy's exact test knows no ties."""
    reference = permutation_test(
        (higher, lower), u_statistic, alternative="greater", n_resamples=np.inf, vectorized=True
    )
    assert rank_p(lower, higher) == pytest.approx(reference.pvalue)


@given(distinct, st.integers(2, 6))
def test_without_ties_the_rank_test_is_scipys(values: list[float], count: int) -> None:
    """There is one exact test for values that differ, and it has the direction that the names say."""
    lower, higher = values[count:], values[:count]
    reference = mannwhitneyu(higher, lower, alternative="greater", method="exact").pvalue
    assert rank_p(lower, higher) == pytest.approx(reference)


@pytest.mark.parametrize(("before", "now"), [(5, 5), (4, 4), (3, 4), (1, 20), (7, 2)])
def test_the_smallest_p_is_that_of_sides_that_do_not_overlap(before: int, now: int) -> None:
    """What is said to be attainable is attained, 1/252 by five against five, and nothing below it."""
    lower, higher = [float(number) for number in range(before)], [100.0 + number for number in range(now)]
    assert rank_p(lower, higher) == pytest.approx(smallest_p(before, now))
    assert smallest_p(before, now) == 1 / comb(before + now, now)
    assert rank_p([1.0] * before, [2.0] * now) == pytest.approx(smallest_p(before, now))


def test_three_against_three_prove_nothing() -> None:
    """A p of exactly 0.05 is not below it."""
    assert smallest_p(3, 3) == 0.05
    assert not is_enough(3, 3)
    assert is_enough(4, 4)
    assert is_enough(3, 4)
    assert not is_enough(0, 100)
    assert not is_enough(100, 0)


@pytest.mark.parametrize(("before", "needed"), [(None, 4), (1, 20), (2, 5), (3, 4), (5, 2), (20, 1)])
def test_how_many_repeats_are_needed(before: int | None, needed: int) -> None:
    """The number that a message asks for is enough, and one less is not."""
    assert repeats_needed(before) == needed
    assert is_enough(before or needed, needed)
    assert not is_enough(before or needed - 1, needed - 1)


def test_no_number_of_repeats_differs_from_none() -> None:
    """A side without repeats is an error, no endless search."""
    with pytest.raises(ValueError, match="no values at all"):
        repeats_needed(0)


@given(figures, figures)
def test_welchs_test_is_scipys_on_logarithms(lower: list[float], higher: list[float]) -> None:
    """Shares of a figure are compared, whatever its unit; a sample without any spread is another test's."""
    logs = np.log(lower), np.log(higher)
    assume(min(float(np.std(side)) for side in logs) > 1e-6)
    reference = ttest_ind(logs[1], logs[0], equal_var=False, alternative="greater").pvalue
    assert welch_p(lower, higher) == pytest.approx(reference, rel=1e-6, abs=1e-12)


def test_one_run_is_compared_with_many_by_their_spread() -> None:
    """A single run has no spread of its own: Student's test lends it that of the others."""
    lower = [10.0, 10.2, 10.1, 9.9, 10.3]
    reference = ttest_ind(np.log([12.0]), np.log(lower), equal_var=True, alternative="greater").pvalue
    assert welch_p(lower, [12.0]) == pytest.approx(reference)
    assert welch_p(lower, [12.0]) < 0.01
    assert welch_p(lower, [10.1]) > 0.3
    assert welch_p([10.0], [12.0]) == 0.5


def test_samples_without_spread_are_compared_all_the_same() -> None:
    """Identical repeats differ surely or not at all, and nothing divides by nothing."""
    assert welch_p([2.0] * 5, [2.0] * 5) == 0.5
    assert welch_p([2.0] * 5, [3.0] * 5) == 0
    assert welch_p([3.0] * 5, [2.0] * 5) == 1
    assert rank_p([2.0] * 5, [2.0] * 5) == 1
    assert rank_p([2.0] * 80, [2.0] * 80) == 0.5
    assert shift_of([2.0] * 5, [3.0] * 5).interval == pytest.approx((0.5, 0.5))


@given(*[st.lists(st.floats(5e-324, 1e308), min_size=1, max_size=6) for _ in range(2)])
def test_no_number_is_too_small_or_too_large(before: list[float], now: list[float]) -> None:
    """Denormals and giants give numbers, no warning (a warning is an error here) and no crash."""
    shift = shift_of(before, now)
    assert isfinite(shift.share)
    assert 0 <= welch_p(before, now) <= 1
    assert 0 <= rank_p(before, now) <= 1
    assert shift.interval is None or all(map(isfinite, shift.interval))


@given(figures, figures)
def test_the_estimate_is_the_median_of_all_ratios(before: list[float], now: list[float]) -> None:
    """Hodges and Lehmann's estimate, on logarithms."""
    ratios = np.log(now)[:, None] - np.log(before)[None, :]
    assert shift_of(before, now).share == pytest.approx(np.expm1(np.median(ratios)), rel=1e-9, abs=1e-12)


def two_sided_p(before: list[float], now: list[float], share: float) -> float:
    """Return SciPy's p that ``now`` is ``before`` changed by ``share``."""
    moved = np.log(now) - np.log1p(share)
    return float(mannwhitneyu(moved, np.log(before), alternative="two-sided", method="exact").pvalue)


@given(distinct, st.integers(4, 5))
def test_the_interval_holds_what_the_exact_test_does_not_reject(values: list[float], count: int) -> None:
    """Just inside each end a share is possible at 5%, just outside it is not: test and interval agree."""
    before, now = values[count:], values[:count]
    interval = shift_of(before, now).interval
    assert interval is not None
    low, high = (1 + end for end in interval)
    ratios = np.sort((np.array(now)[:, None] / np.array(before)[None, :]).ravel())
    assume(min(np.diff(ratios)) > 1e-8)  # ratios that are equal are crossed at once
    gap = 1 + 1e-10
    assert two_sided_p(before, now, low / gap - 1) <= 0.05 < two_sided_p(before, now, low * gap - 1)
    assert two_sided_p(before, now, high * gap - 1) <= 0.05 < two_sided_p(before, now, high / gap - 1)


@pytest.mark.parametrize(
    ("before", "now", "told"), [(3, 4, False), (4, 4, True), (3, 5, True), (1, 39, True)]
)
def test_an_interval_that_cannot_reach_95_percent_is_not_told(before: int, now: int, *, told: bool) -> None:
    """An interval of 90% under the name of one of 95% would be a lie; there is none."""
    found = shift_of([1.0 + number for number in range(before)], [2.0 + number for number in range(now)])
    assert (found.interval is not None) is told
    assert (2 * smallest_p(before, now) <= 0.05) is told


@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_the_interval_holds_the_truth_as_often_as_it_says(spread: float) -> None:
    """Of 1,000 pairs of 5 v 5 runs whose servers differ, 95 to 98% of the intervals hold the true change."""
    random = np.random.default_rng(7)
    held = 0
    for _ in range(1000):
        before, now = 40 * random.lognormal(0, spread, 5), 44 * random.lognormal(0, spread, 5)
        interval = shift_of(before.tolist(), now.tolist()).interval
        assert interval is not None
        held += interval[0] <= 0.1 <= interval[1]
    assert 0.945 <= held / 1000 <= 0.985


def test_beyond_the_exact_counts_the_interval_goes_on() -> None:
    """Where the normal approximation takes over, the interval still is the test's, to a few percent."""
    random = np.random.default_rng(3)
    before, now = random.lognormal(0, 0.1, MOST_EXACT), random.lognormal(0.05, 0.1, 60)
    interval = shift_of(before.tolist(), now.tolist()).interval
    assert interval is not None
    assert interval[0] < 0.05 < interval[1]
    for end in interval:
        p = mannwhitneyu(np.log(now) - np.log1p(end), np.log(before), method="asymptotic").pvalue
        assert p == pytest.approx(0.05, abs=0.01)
    assert shift_of([1.0], [2.0] * 2 * MOST_EXACT).interval is None


def test_beyond_the_exact_counts_ties_are_corrected_for() -> None:
    """Many runs whose figures are rounded are compared by SciPy's approximation."""
    lower, higher = [1.0, 2.0, 2.0] * 40, [1.0, 2.0, 3.0] * 40
    reference = mannwhitneyu(higher, lower, alternative="greater", method="asymptotic").pvalue
    assert rank_p(lower, higher) == pytest.approx(reference)


def test_a_familys_p_values_are_adjusted() -> None:
    """Benjamini and Hochberg's example: each p times how many there are over its rank, and in order."""
    assert adjusted([0.01, 0.04, 0.03, 0.5]) == pytest.approx((0.04, 0.16 / 3, 0.16 / 3, 0.5))
    assert adjusted([]) == ()
    assert adjusted([0.03]) == pytest.approx((0.03,))


def test_a_thousand_repeats_take_no_minutes() -> None:
    """Beyond a hundred values it is the normal approximation, as scipy has it; exact, it would not end."""
    rng = np.random.default_rng(0)
    lower, higher = rng.normal(10, 0.2, 1000).tolist(), rng.normal(10.02, 0.2, 1000).tolist()
    reference = mannwhitneyu(higher, lower, alternative="greater", method="asymptotic").pvalue
    assert rank_p(lower, higher) == pytest.approx(float(reference))
