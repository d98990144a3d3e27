"""Values by time, and what they say of a window between two of them (pure)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

Points = Sequence[tuple[int, float]]
"""Instants in nanoseconds, ascending, each with a value."""


def uncovered(points: Points, begin_ns: int, end_ns: int, gone: str = "") -> str:
    """Return why ``points`` cannot speak for the window; empty when they can.

    ``gone`` is why they end, if they do.
    """
    if end_ns <= begin_ns:
        return "the window is empty"
    if not points:
        return gone or "it was never sampled"
    if points[-1][0] < end_ns:
        return gone or f"sampling ended {(end_ns - points[-1][0]) / 1e9:.2f} s before the window did"
    if points[0][0] > begin_ns:
        return f"sampling began {(points[0][0] - begin_ns) / 1e9:.2f} s after the window did"
    return ""


def value_at(points: Points, at_ns: int) -> float:
    """Return the value at an instant that ``points`` cover, linear between two of them."""
    right = bisect_left(points, at_ns, key=lambda point: point[0])
    after_ns, after = points[right]
    if after_ns == at_ns:
        return after
    before_ns, before = points[right - 1]
    return before + (after - before) * ((at_ns - before_ns) / (after_ns - before_ns))


def growth(points: Points, begin_ns: int, end_ns: int) -> float:
    """Return by how much the value grew over a window that ``points`` cover."""
    return value_at(points, end_ns) - value_at(points, begin_ns)


def rate_per_s(points: Points, begin_ns: int, end_ns: int) -> float:
    """Return that, per second."""
    return growth(points, begin_ns, end_ns) / ((end_ns - begin_ns) / 1e9)


def highest(points: Points, begin_ns: int, end_ns: int) -> float:
    """Return the highest value of a window that ``points`` cover, its edges included."""
    return max(value for _, value in cut(points, begin_ns, end_ns))


def integral(points: Points, begin_ns: int, end_ns: int) -> float:
    """Return the sum of value times seconds over a window that ``points`` cover (trapezoids)."""
    inside = cut(points, begin_ns, end_ns)
    return sum((a + b) / 2 * (to_ns - from_ns) / 1e9 for (from_ns, a), (to_ns, b) in pairwise(inside))


def cut(points: Points, begin_ns: int, end_ns: int) -> Points:
    """Return the part of ``points`` in a window that they cover, with the values at its edges."""
    first = bisect_right(points, begin_ns, key=lambda point: point[0])
    last = bisect_left(points, end_ns, key=lambda point: point[0])
    return (
        (begin_ns, value_at(points, begin_ns)),
        *points[first:last],
        (end_ns, value_at(points, end_ns)),
    )
