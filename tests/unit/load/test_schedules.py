"""Schedules keep their rate, their order and their seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.arrivals import (
    REFERENCE,
    Arrivals,
    Constant,
    Poisson,
    Replay,
    Stage,
    Staged,
    label_of,
    text_of,
)
from pytest_servebench.errors import LoadError, PlanError
from pytest_servebench.load.arrivals import Offsets, expected_count, parse_offsets, schedule

RATES = st.floats(0.1, 5000.0)
STAGES = st.builds(
    Staged,
    stages=st.lists(
        st.builds(Stage, st.sampled_from([0.0, 0.25, 1.0, 3.5]), st.sampled_from([0.0, 0.5, 7.0, 333.0])),
        min_size=1,
        max_size=5,
    )
    .map(tuple)
    .filter(lambda stages: any(stage.duration_s for stage in stages)),
    start_per_s=st.sampled_from([0.0, 0.3, 50.0]),
    random=st.booleans(),
)
ENDLESS = st.one_of(st.builds(Constant, RATES), st.builds(Poisson, RATES))


def first(arrivals: Arrivals, count: int, seed: int = 0, chunk: int = 1024) -> Offsets:
    """Return the first offsets of a schedule, as many as there are up to ``count``."""
    offsets: Iterator[int] = (int(one) for part in schedule(arrivals, seed, chunk) for one in part)
    return np.fromiter(islice(offsets, count), dtype=np.int64)


@given(st.one_of(ENDLESS, STAGES), st.integers(0, 2**32), st.integers(1, 700))
def test_a_schedule_never_goes_back_and_depends_on_its_seed_alone(
    arrivals: Arrivals, seed: int, chunk: int
) -> None:
    """Offsets begin at 0 or later, in order; the same seed gives the same, however they are chunked."""
    offsets = first(arrivals, 3000, seed)
    assert np.all(np.diff(offsets) >= 0)
    assert not len(offsets) or offsets[0] >= 0
    # The chunks' borders may move the last bit of a sum, never a nanosecond that matters.
    assert np.all(np.abs(offsets - first(arrivals, 3000, seed, chunk)) <= 1)
    assert np.array_equal(offsets, first(arrivals, 3000, seed))


@given(RATES)
def test_constant_arrivals_have_equal_gaps(per_s: float) -> None:
    """The gaps' coefficient of variation is 0 to the rounding of a nanosecond, and their mean is the rate."""
    gaps = np.diff(first(Constant(per_s), 2000))
    assert np.ptp(gaps) <= 1
    assert gaps.mean() * per_s == pytest.approx(1e9, abs=2 * per_s)


@pytest.mark.parametrize("seed", [0, 1, 2, 77])
@pytest.mark.parametrize("per_s", [0.5, 100.0, 4000.0])
def test_poisson_arrivals_have_exponential_gaps(per_s: float, seed: int) -> None:
    """Mean rate as asked and a coefficient of variation of 1, both within what 20,000 gaps allow."""
    gaps = np.diff(first(Poisson(per_s), 20_001, seed), prepend=0) / 1e9
    assert gaps.mean() * per_s == pytest.approx(1.0, abs=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.04)
    assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] == pytest.approx(0.0, abs=0.03)


def test_other_seeds_give_other_poisson_arrivals() -> None:
    """A seed is worth something."""
    assert not np.array_equal(first(Poisson(100), 100, 1), first(Poisson(100), 100, 2))


@given(ENDLESS, st.floats(0.01, 3.0))
def test_constant_arrivals_meet_their_count_at_any_instant(arrivals: Arrivals, at_s: float) -> None:
    """Up to any instant there are rate x time arrivals, to within one (and 6 sigma for Poisson)."""
    per_s = getattr(arrivals, "per_s", 0.0)
    expected = per_s * at_s
    seen = np.count_nonzero(first(arrivals, int(expected * 3) + 100) <= at_s * 1e9)
    slack = 1.01 if isinstance(arrivals, Constant) else 6 * np.sqrt(expected) + 8
    assert abs(seen - expected) <= slack


@given(STAGES, st.floats(0.0, 1.0))
def test_stages_meet_the_integral_of_their_rate_at_any_instant(staged: Staged, share: float) -> None:
    """Evenly spaced: to within one at every instant; random: within 6 sigma."""
    at_s = share * staged.length_s
    expected = expected_count(staged, at_s)
    seen = np.count_nonzero(first(staged, 100_000) <= at_s * 1e9)
    slack = 6 * np.sqrt(expected) + 8 if staged.random else 1.001
    assert abs(seen - expected) <= slack
    assert expected == pytest.approx(_integral(staged, at_s), rel=1e-3, abs=1e-3)


def _integral(staged: Staged, at_s: float) -> float:
    """Return the integral of the rate up to ``at_s``, by the trapezoid rule over each stage's own line."""
    total, begin_s, rate = 0.0, 0.0, staged.start_per_s
    for stage in staged.stages:
        inside_s = min(max(at_s - begin_s, 0.0), stage.duration_s)
        if inside_s:
            grid = np.linspace(0, inside_s, 1001)
            rates = rate + (stage.per_s - rate) * grid / stage.duration_s
            total += float(((rates[1:] + rates[:-1]) / 2 * np.diff(grid)).sum())
        begin_s, rate = begin_s + stage.duration_s, stage.per_s
    return total


def test_the_reference_has_the_arrivals_its_ramps_enclose() -> None:
    """6,000 in the first ramp, 30,000 in the hold, 36,000, 150,000, and 30,000 in the ramp down."""
    offsets_s = first(REFERENCE, 10**6) / 1e9
    counts, _ = np.histogram(offsets_s, bins=[0, 120, 420, 540, 840, 960])
    assert counts.tolist() == [6000, 30_000, 36_000, 150_000, 30_000]
    assert REFERENCE.length_s == 960
    hold = np.diff(offsets_s[(offsets_s > 130) & (offsets_s < 410)])
    assert np.allclose(hold, 0.01, atol=1e-8)


def test_nobody_arrives_in_a_stage_of_rate_nothing() -> None:
    """A pause is a pause, and a stage without length is a jump."""
    staged = Staged(stages=(Stage(1, 0), Stage(0, 10), Stage(1, 10), Stage(0, 0), Stage(1, 0), Stage(1, 10)))
    offsets_s = first(staged, 100) / 1e9
    assert np.allclose(offsets_s[:10], 1 + np.arange(10) / 10)
    assert np.all(offsets_s[10:] >= 3)
    assert len(offsets_s) == 15


def test_a_trace_is_read_from_lines_or_a_list(tmp_path: Path) -> None:
    """Seconds, one a line with comments, or a JSON list; the schedule is what the file says."""
    lines = tmp_path / "trace.txt"
    lines.write_text("# a trace\n0.0\n\n0.25\n0.25\n1e0\n")
    expected = [0, 250_000_000, 250_000_000, 1_000_000_000]
    assert first(Replay(path=lines, length_s=1.0), 10, chunk=3).tolist() == expected
    assert parse_offsets("[0, 0.25, 0.25, 1]", "t.json").tolist() == expected


def test_a_trace_that_is_gone_by_the_time_of_the_load_is_told(tmp_path: Path) -> None:
    """It was there when the options were read."""
    with pytest.raises(LoadError, match="cannot be read any more") as caught:
        first(Replay(path=tmp_path / "gone.txt", length_s=1.0), 1)
    assert caught.value.where == f"{tmp_path}/gone.txt"


@pytest.mark.parametrize(
    ("text", "where", "seen"),
    [
        ("0\n1\nx\n", "trace, line 3", "'x'"),
        ("0\n\n2\n1\n", "trace, line 4", "'1'"),
        ("-1\n", "trace, line 1", "'-1'"),
        ("0\ninf\n", "trace, line 2", "'inf'"),
        ("0\n1e300\n", "trace, line 2", "'1e300'"),
        ("[" * 100_000, "", "lists nested too deeply"),
        ("[0, 1, true]", "trace, number 3 of the list", "True"),
        ('[0, {"a": 1}]', "trace, number 2 of the list", "{'a': 1}"),
        ("[0, ", "", "Expecting value: line 1 column 5 (char 4)"),
        ("# nothing\n", "", ""),
    ],
)
def test_a_wrong_trace_says_which_line(text: str, where: str, seen: str) -> None:
    """The message is enough to mend the file."""
    with pytest.raises(PlanError) as caught:
        parse_offsets(text, "trace")
    assert (caught.value.where, caught.value.seen) == (where, seen)
    assert caught.value.what.startswith("trace ")


def test_labels_are_short_stable_and_fit_for_file_names() -> None:
    """A case's id is the same in every run, and says what it can."""
    long = Staged(stages=tuple(Stage(10, 10 * n) for n in range(9)))
    assert label_of(Constant(50)) == "constant-50"
    assert label_of(Poisson(0.5)) == "poisson-0.5"
    assert label_of(REFERENCE) == "reference"
    assert label_of(Staged(stages=(Stage(10, 50),))) == "stages-0-10s-50"
    assert label_of(long) == "stages-cadedee0"
    assert label_of(Replay(path=Path("/a b/my trace.txt"), length_s=1.0)) == "replay-my-trace"
    assert text_of(None) == "closed"
