"""Rules of keeping replies: a seeded share, never fewer than a few, never one outside the window."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.load import kept as kept_module
from pytest_servebench.load.kept import FEWEST, MASK_ROWS, KeptReplies

WINDOW_NS = 1_000_000


def kept_of(share: float, seed: int, requests: int, instants: list[int]) -> dict[int, object]:
    """Return what is kept of one reply per instant, round robin over ``requests``, as the sender asks."""
    kept = KeptReplies(share, seed, requests)
    kept.open_window(0, WINDOW_NS)
    for row, instant in enumerate(instants):
        if instant >= kept.due_ns or kept.mask[row % MASK_ROWS]:
            kept.offer(row, row % requests, instant, b"reply %d" % row)
    return dict(kept.by_row())


@given(
    st.integers(1, 40),
    st.lists(st.integers(0, WINDOW_NS - 1), max_size=60).map(sorted),
    st.integers(0, 5),
)
def test_at_least_a_few_are_kept_however_replies_come(requests: int, instants: list[int], seed: int) -> None:
    """The smaller of 8 and all replies is kept, bunched or spread, with its own bytes."""
    kept = kept_of(0.01, seed, requests, instants)
    assert len(kept) >= min(FEWEST, len(instants))
    assert all(reply == b"reply %d" % row for row, reply in kept.items())


def test_the_share_is_kept_by_seed() -> None:
    """About the share is kept; the same seed keeps the same, another seed others."""
    instants = [i * WINDOW_NS // 50_000 for i in range(50_000)]
    first, again, other = (set(kept_of(0.01, seed, 8, instants)) for seed in (1, 1, 2))
    assert 400 <= len(first) <= 600
    assert first == again != other


def test_the_few_lie_in_every_part_of_the_window_and_are_of_distinct_requests() -> None:
    """With a vanishing share, one reply in each eighth of the window is kept, each of another request."""
    rows = set(kept_of(1e-9, 0, 8, [i * WINDOW_NS // 800 for i in range(800)]))
    assert {row * 8 // 800 for row in rows} == set(range(8))
    assert {row % 8 for row in rows} == set(range(8))


def test_nothing_is_kept_outside_the_window_or_for_share_zero() -> None:
    """Warm-up replies and replies of the drain are not verified as the window's."""
    kept = KeptReplies(1.0, 0, 1)
    kept.offer(0, 0, 5, b"warm-up")
    kept.open_window(10, 10)
    kept.offer(1, 0, 15, b"inside")
    kept.close_window()
    kept.offer(2, 0, 25, b"drain")
    assert kept.by_row() == {1: b"inside"}
    assert kept_of(0.0, 0, 1, list(range(100))) == {}


def test_kept_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large replies do not fill the memory of the machine that measures."""
    monkeypatch.setattr(kept_module, "LIMIT_BYTES", 100)
    kept = KeptReplies(1.0, 0, 1)
    kept.open_window(0, 10)
    for row in range(50):
        kept.offer(row, 0, 1, b"x" * 30)
    assert len(kept.by_row()) <= FEWEST


def test_an_hours_replies_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit every second is let go, so that those kept stay spread over the whole window."""
    monkeypatch.setattr(kept_module, "LIMIT_REPLIES", 20)
    kept = KeptReplies(1.0, 0, 1)
    kept.open_window(0, 1000)
    for row in range(1000):
        kept.offer(row, 0, row, b"x")
    rows = list(kept.by_row())
    assert 10 <= len(rows) <= 20
    assert max(second - first for first, second in pairwise([0, *rows, 1000])) <= 64


def test_rows_that_are_kept_are_told_by_their_place_once() -> None:
    """What is folded next must leave these out; what was let go need not be."""
    kept = KeptReplies(1.0, 0, 1)
    kept.open_window(0, 100)
    for row in (3, 5, 11, 12):
        kept.offer(row, 0, row, b"x")
    assert kept.places(0, 8) == [3, 5]
    assert kept.places(8, 16) == [3, 4]
    assert kept.places(0, 16) == []
