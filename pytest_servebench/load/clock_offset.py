"""How far another process's clock is from ours, from a few exchanges of instants (pure).

Each exchange is asked at one instant of our clock, read at one of theirs in between, and answered
at a later one of ours. The fastest exchange bounds the offset best: it is known to within half of
its duration. F. Cristian, Probabilistic clock synchronization, Distributed Computing 3, 1989.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question for the time, in nanoseconds of either clock."""

    asked_ns: int
    theirs_ns: int
    answered_ns: int

    @property
    def took_ns(self) -> int:
        """How long it took."""
        return self.answered_ns - self.asked_ns


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Theirs - ours, and by how much that may be wrong, in nanoseconds."""

    offset_ns: int
    uncertainty_ns: int


SAME_CLOCK = ClockOffset(0, 0)


def offset_from(exchanges: Sequence[Exchange]) -> ClockOffset:
    """Return the offset of the fastest exchange."""
    best = min(exchanges, key=lambda one: one.took_ns)
    return ClockOffset(best.theirs_ns - (best.asked_ns + best.answered_ns) // 2, (best.took_ns + 1) // 2)


def over_a_load(before: ClockOffset, after: ClockOffset) -> ClockOffset:
    """Return the offset before a load, by which it was begun, as it holds until the one after.

    Clocks drift apart meanwhile: by no more than the two differ.
    """
    drift_ns = abs(after.offset_ns - before.offset_ns)
    return ClockOffset(before.offset_ns, max(before.uncertainty_ns, drift_ns + after.uncertainty_ns))
