"""Replicates side by side, and what each gate says of them (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.gate.replicates import Replicate
from benchmarks.gate.schedule import BASE, SAME, SIDES
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, Change, ChangeLimit, ChangeVerdict
from pytest_servebench.comparison.regression import changes_of
from pytest_servebench.errors import PlanError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Comparison:
    """Some replicates of A, and as many of another side that took turns with them."""

    kind: str
    """``A/A``, or the slow-down's name."""
    number: int
    before: tuple[Replicate, ...]
    now: tuple[Replicate, ...]


def comparisons_of(replicates: Sequence[Replicate], repeats: int) -> tuple[Comparison, ...]:
    """Return every comparison whose replicates are all there, by experiment, number and side."""
    groups: dict[tuple[str, int], dict[str, list[Replicate]]] = {}
    for each in sorted(replicates, key=lambda one: one.turn.repeat):
        groups.setdefault(each.turn.group, {}).setdefault(each.turn.side, []).append(each)
    whole = {
        group: sides
        for group, sides in sorted(groups.items())
        if set(sides) == set(SIDES[group[0]]) and all(len(side) == repeats for side in sides.values())
    }
    return tuple(each for group, sides in whole.items() for each in _of_group(group, sides))


def _of_group(group: tuple[str, int], sides: dict[str, list[Replicate]]) -> Iterator[Comparison]:
    experiment, number = group
    for side in SIDES[experiment]:
        if side != BASE:
            yield Comparison(
                kind=SAME if experiment == SAME else side,
                number=number,
                before=tuple(sides[BASE]),
                now=tuple(sides[side]),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gate says of one comparison, at its default limits."""

    kind: str
    number: int
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> ChangeVerdict:
        """Return the gravest word of any figure: that is what a build would show."""
        said = {change.verdict for change in self.changes}
        order = (ChangeVerdict.REGRESSION, ChangeVerdict.INCONCLUSIVE, ChangeVerdict.IMPROVEMENT)
        return next((word for word in order if word in said), ChangeVerdict.PASS)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return why it is inconclusive, each doubt once; nothing where it is not."""
        if self.verdict is not ChangeVerdict.INCONCLUSIVE:
            return ()
        return tuple(dict.fromkeys(str(change.doubt) for change in self.changes if change.doubt is not None))

    def found(self, figure: str) -> bool:
        """Return whether this figure is a regression."""
        return any(change.fails for change in self.changes if change.figure == figure)


def judged(one: Comparison, limits: Sequence[ChangeLimit] = DEFAULT_LIMITS) -> Judged:
    """Return the verdict of the gate that pytest and ``servebench compare`` use."""
    before, now = ([each.record for each in side] for side in (one.before, one.now))
    return Judged(kind=one.kind, number=one.number, changes=changes_of(before, now, limits=limits))


def of_kind(comparisons: Iterable[Comparison], kind: str) -> tuple[Comparison, ...]:
    """Return the comparisons of a kind."""
    return tuple(each for each in comparisons if each.kind == kind)


def repeats_in(replicates: Sequence[Replicate]) -> int:
    """Return how many replicates each side was to have; raises `PlanError` for none."""
    if not replicates:
        raise PlanError("there are no replicates to compare")
    return max(each.turn.repeat for each in replicates)
