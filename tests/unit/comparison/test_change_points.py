"""Where a series changed for good: found, and not invented."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_servebench.comparison.change_points import (
    FEWEST,
    SHORTEST,
    change_points,
    noise_of,
    without_outliers,
)
from pytest_servebench.errors import MissingPieceError

SERIES = 200


def series(seed: int, levels: list[tuple[int, float]], noise: float = 0.02) -> list[float]:
    """Return so many values around each level, with a share of noise."""
    around = np.concatenate([np.full(count, level) for count, level in levels])
    return list(around * np.exp(np.random.default_rng(seed).normal(0, noise, len(around))))


def test_a_change_of_eight_per_cent_is_found_where_it_began() -> None:
    """25 runs at 100, then 6 at 108, with 2% noise: that, within a run, and nothing else in 95% of series."""
    found = [change_points(series(seed, [(25, 100), (6, 108)])) for seed in range(SERIES)]
    right = [each for each in found if len(each) == 1 and abs(each[0] - 25) <= 1]
    assert len(right) >= 0.95 * SERIES


@pytest.mark.parametrize("count", [8, 12, 31, 100])
def test_a_level_series_rarely_seems_to_change(count: int) -> None:
    """Of series that only have noise at most 5% are said to change, short ones too."""
    false = sum(bool(change_points(series(seed, [(count, 100)]))) for seed in range(SERIES))
    assert false <= 0.05 * SERIES


def test_one_slow_run_is_no_change() -> None:
    """A single outlier of 25%, wherever it lies, hardly ever makes a change."""
    false = 0
    for seed in range(SERIES):
        values = series(seed, [(30, 100)])
        values[seed % 30] *= 1.25
        false += bool(change_points(values))
    assert false <= 0.05 * SERIES


def test_up_and_down_again_are_two_changes() -> None:
    """A level between two others is found at both of its ends."""
    assert change_points(series(1, [(12, 100), (10, 120), (9, 100)])) == (12, 22)


@pytest.mark.parametrize("after", [109.0, 92.0])
def test_values_without_noise_change_where_they_change(after: float) -> None:
    """Series that repeat the same value have no spread to test with, and still a change."""
    assert change_points([100.0] * 10 + [after] * 5) == (10,)


def test_less_than_half_a_per_cent_is_none() -> None:
    """A figure is not known well enough for a smaller change, however quiet the series."""
    assert change_points([100.0] * 10 + [100.4] * 10) == ()


def test_too_few_values_say_nothing() -> None:
    """Below eight values a doubled figure is no change point yet."""
    values = [100.0] * 4 + [200.0] * 4
    assert change_points(values[: FEWEST - 1]) == ()
    assert change_points(values) == (4,)


@given(st.lists(st.floats(1e-6, 1e9), min_size=FEWEST, max_size=40))
@settings(max_examples=60)
def test_levels_are_long_enough_whatever_the_values(values: list[float]) -> None:
    """Points ascend, and no level is shorter than the least."""
    bounds = [0, *change_points(values), len(values)]
    lengths = [after - before for before, after in pairwise(bounds)]
    assert min(lengths) >= SHORTEST


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_the_unit_does_not_matter(seed: int, factor: float) -> None:
    """Milliseconds and seconds have the same changes: shares count."""
    values = series(seed, [(12, 100), (8, 115)])
    assert change_points(values) == change_points([value * factor for value in values])


def test_noise_is_not_taken_from_the_change() -> None:
    """The noise of a series with a large step is that of the same series without."""
    flat = [math.log(value) for value in series(3, [(40, 100)])]
    stepped = [log + 2 * (at >= 20) for at, log in enumerate(flat)]
    assert noise_of(stepped) == pytest.approx(noise_of(flat), rel=0.2)


def test_outliers_are_pulled_in_and_steps_are_not() -> None:
    """A value far from those around it comes near; a step of three values stays as it is."""
    assert without_outliers([0.0] * 5 + [50.0] + [0.0] * 5) == [0.0] * 5 + [2.5] + [0.0] * 5
    assert without_outliers([0.0] * 7 + [50.0] * 3) == [0.0] * 7 + [50.0] * 3


def test_without_ruptures_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be installed is said, with the command."""
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(MissingPieceError, match=r"pip install 'pytest-servebench\[history\]'"):
        change_points([100.0] * 10)
