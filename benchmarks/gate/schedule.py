"""Who is measured when: servers take turns, so that a machine that drifts favours none of them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

SAME, SLOWED = "A/A", "A/B"
BASE, TWIN = "A", "A'"
SLOW_DOWNS: Mapping[str, float] = MappingProxyType({"+5%": 0.05, "+10%": 0.10, "+20%": 0.20})
"""Share of its own service time that a server sleeps, by the name of the side."""
SIDES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {SAME: {BASE: 0.0, TWIN: 0.0}, SLOWED: {BASE: 0.0, **SLOW_DOWNS}}
)
"""The sides that take turns, by experiment. Of A/B the three slow-downs share the replicates of A."""
SAME_PER_BLOCK = 2
BLOCKS, REPEATS = 20, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One replicate: a server of one side is started, loaded and ended."""

    experiment: str
    number: int
    """Which of its experiments, from 1."""
    repeat: int
    """Which replicate of its side, from 1."""
    side: str

    @property
    def group(self) -> tuple[str, int]:
        """Return what is measured in one go."""
        return self.experiment, self.number

    @property
    def sleeps(self) -> float:
        """Return the share of its service time that the server sleeps."""
        return SIDES[self.experiment][self.side]


def turns(blocks: int, repeats: int) -> tuple[Turn, ...]:
    """Return every turn in order: a block is two A/A and one A/B, so that both see the same hours."""
    return tuple(
        Turn(experiment=experiment, number=number, repeat=repeat, side=side)
        for block in range(blocks)
        for experiment, number in _groups(block)
        for repeat in range(1, repeats + 1)
        for side in SIDES[experiment]
    )


def _groups(block: int) -> Iterator[tuple[str, int]]:
    for which in range(1, SAME_PER_BLOCK + 1):
        yield SAME, SAME_PER_BLOCK * block + which
    yield SLOWED, block + 1


def missing(wanted: Iterable[Turn], measured: Iterable[Turn]) -> tuple[Turn, ...]:
    """Return the turns to take: all of a group that is not whole, since its sides must take turns."""
    wanted = tuple(wanted)
    absent = {turn.group for turn in set(wanted) - set(measured)}
    return tuple(turn for turn in wanted if turn.group in absent)


def turn_of(fields: Mapping[str, Any]) -> Turn:
    """Return the turn whose fields these are."""
    return Turn(**fields)
