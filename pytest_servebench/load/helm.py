"""Who decides when a load's stages end before their time: purely from slices, or by asking elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Protocol

from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.statistics.intervals import intervals_of
from pytest_servebench.statistics.settling import settled

FEWEST_WARM_UP = 10
"""Slices of a warm-up before anybody asks whether it may end: one second."""
FEWEST_WINDOW = 20
"""Slices of a window before anybody asks whether it may end: two seconds."""
MORE = 1.1


class Helm(Protocol):
    """Asked at the edges of slices; the time limits of `Window` hold whatever it says.

    Both return the instant (CLOCK_MONOTONIC nanoseconds) at which to go over, ``now_ns`` or a
    later one, or None: not yet. It runs in the thread that sends, so it has to be quick, and
    must not wait.
    """

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return when to go over into measurement; ``slices`` are the warm-up's so far."""

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return when to end the measurement; ``slices`` are the window's so far."""


class LocalHelm:
    """Decides from what this client alone has seen, as the load's ``steady`` and ``precision`` ask.

    Looks again when there are a tenth more slices than at the last look: a look costs up to
    some milliseconds when they are many, and frequent looks would find a narrow interval by luck.
    """

    def __init__(self, load: Load) -> None:
        if load.steady or load.precision is not None:
            # What judges takes a tenth of a second to import: now, and not between two sends.
            import scipy.special
            import scipy.stats  # noqa: F401 (as above)
        self._load = load
        self._warm_up_looks, self._window_looks = _Looks(FEWEST_WARM_UP), _Looks(FEWEST_WINDOW)

    def warmed_up(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return ``now_ns`` once the warm-up's latest slices agree; never, where its length is fixed."""
        if not self._load.steady or not self._warm_up_looks.due(len(slices)):
            return None
        return now_ns if settled(slices) else None

    def enough(self, slices: Sequence[Slice], now_ns: int) -> int | None:
        """Return ``now_ns`` once both confidence intervals are narrow enough; never without a precision."""
        if self._load.precision is None or not self._window_looks.due(len(slices)):
            return None
        found = intervals_of(slices)
        return now_ns if found is not None and found.width <= self._load.precision else None


class _Looks:
    """When to look again, by the number of slices; these become fewer when a time line is made coarser."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._last = 0

    def due(self, count: int) -> bool:
        if count < self._last:
            self._next = count + 1
        self._last = count
        if count < self._next:
            return False
        self._next = max(count + 1, ceil(count * MORE))
        return True
