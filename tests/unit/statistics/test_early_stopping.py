"""Early stopping says what MLPerf's does, and more requests or fewer misses never make it less sure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.statistics.early_stopping import (
    Finding,
    finding_of,
    requests_to_decide,
    requests_to_pass,
)

PASS, FAIL, UNDECIDED = Finding.PASS, Finding.FAIL, Finding.UNDECIDED
SHARES = st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.5])
ORDER = {FAIL: 0, UNDECIDED: 1, PASS: 2}


@pytest.mark.parametrize(
    ("share", "missed", "needed"),
    [
        *((0.05, t, n) for t, n in ((0, 90), (1, 130), (5, 259), (10, 398), (50, 1372))),
        *((0.01, t, n) for t, n in ((0, 459), (1, 662), (5, 1307), (10, 2010), (50, 6898))),
    ],
)
def test_the_requests_needed_are_those_of_mlperf(share: float, missed: int, needed: int) -> None:
    """The table for p95 and p99 at a confidence of 99%, and the edge is where it says."""
    assert requests_to_pass(missed, share) == needed
    assert finding_of(missed, needed, share) is PASS
    assert finding_of(missed, needed - 1, share) is not PASS


@pytest.mark.parametrize(
    ("missed", "of", "finding"),
    [
        (0, 0, UNDECIDED),
        (0, 89, UNDECIDED),
        (0, 90, PASS),
        (2, 2, FAIL),  # 0.05 ** 2 is below 1%
        (1, 1, UNDECIDED),
        (50, 1000, UNDECIDED),
        (80, 1000, FAIL),
        (25, 1000, PASS),
    ],
)
def test_findings_of_a_p95(missed: int, of: int, finding: Finding) -> None:
    """Few misses pass, many fail, about the share allowed says nothing."""
    assert finding_of(missed, of, 0.05) is finding


def test_a_limit_that_allows_no_miss_fails_at_the_first() -> None:
    """``errors<=0%``: no statistics can prove it, one error disproves it."""
    assert finding_of(0, 10, 0.0) is PASS
    assert finding_of(1, 10_000, 0.0) is FAIL
    assert requests_to_pass(0, 0.0) == 1


@given(st.integers(0, 200), st.integers(1, 3000), SHARES)
def test_a_further_miss_never_helps_and_a_further_hit_never_harms(missed: int, of: int, share: float) -> None:
    """The finding is monotone in the misses and in the requests."""
    missed = min(missed, of)
    here = ORDER[finding_of(missed, of, share)]
    assert ORDER[finding_of(missed, of + 1, share)] >= here
    assert ORDER[finding_of(missed + 1, of + 1, share)] <= here


@given(st.integers(0, 300), SHARES)
def test_the_requests_needed_are_the_fewest_and_grow_with_misses(missed: int, share: float) -> None:
    """One fewer does not pass, and a further miss needs more of them."""
    needed = requests_to_pass(missed, share)
    assert finding_of(missed, needed, share) is PASS
    assert finding_of(missed, needed - 1, share) is not PASS
    assert requests_to_pass(missed + 1, share) > needed


@given(st.integers(0, 100), st.integers(1, 2000), SHARES)
def test_what_decides_is_decided_at_the_same_share(missed: int, of: int, share: float) -> None:
    """So many requests with the share of misses seen are a finding; None when that share is the limit."""
    missed = min(missed, of)
    needed = requests_to_decide(missed, of, share)
    if needed is None:
        assert missed / of == pytest.approx(share, abs=1e-4)
        return
    assert needed >= of
    assert finding_of(round(missed / of * needed), needed, share) is not UNDECIDED


def test_a_server_at_the_limit_passes_by_accident_once_in_a_hundred() -> None:
    """Confidence is what it says: of independent samples at exactly the share, at most 1% pass, 1% fail."""
    missed = np.random.default_rng(3).binomial(500, 0.05, size=2000)
    found = [finding_of(int(one), 500, 0.05) for one in missed]
    assert 0 < found.count(PASS) <= 30
    assert 0 < found.count(FAIL) <= 30
