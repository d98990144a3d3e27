"""How each figure of each case went over time, and where it changed for good (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from pytest_servebench.comparison.change_points import FEWEST, change_points
from pytest_servebench.comparison.changes import ChangeLimit, Severity
from pytest_servebench.comparison.chronicle import Measured
from pytest_servebench.comparison.conditions import condition_differences, conditions, is_capacity
from pytest_servebench.comparison.figures import FIGURES, Figure
from pytest_servebench.comparison.fingerprint import ALL, differences, fingerprint
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.sentences import percent

VALID = "valid"
MOST_DIFFERENCES = 3
"""That are named of two series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One figure of one case in one run."""

    run: Measured
    value: float
    """Median of the run's valid replicates."""
    replicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Where a figure changed for good."""

    at: int
    """The point with which the new level began."""
    before: float
    """Median of the runs of the level before."""
    after: float
    is_worse: bool

    @property
    def change(self) -> float:
        """By what share: 0.1 is ten per cent more."""
        return self.after / self.before - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One figure of one case on one machine, of one kind of everything it depends on, over time."""

    case: str
    figure: Figure
    number: int
    """The case's first, second, ... series."""
    points: tuple[Point, ...]
    turns: tuple[Turn, ...]
    differs: str = ""
    """In what it was measured differently from the series before; empty for the first."""
    is_current: bool = True
    """Whether the case's latest run is in it."""
    lacks_latest: bool = False
    """Whether the latest run of the series itself has no such figure."""
    unusable: int = 0
    """Runs that were not valid, or have no such figure."""

    @property
    def is_judged(self) -> bool:
        """Whether it has enough runs for a change to be told from chance."""
        return len(self.points) >= FEWEST

    @property
    def levels(self) -> tuple[tuple[int, int, float], ...]:
        """Begin, end and median of the points of each level."""
        bounds = [0, *(turn.at for turn in self.turns), len(self.points)]
        return tuple(
            (begin, end, median(point.value for point in self.points[begin:end]))
            for begin, end in pairwise(bounds)
        )


def series_of(
    runs: Sequence[Measured],
    *,
    figures: Sequence[str] = (),
    allowed: frozenset[str] = frozenset(),
    limits: Sequence[ChangeLimit] = (),
) -> tuple[Series, ...]:
    """Return the series of every case and figure, all figures if none are named; runs are in order of time.

    A limit's floor is that of its figure.

    Runs whose fingerprint or load differ, but for what is ``allowed`` to, are series of their own: a new
    machine is no change of the server. One without a single point is left out.
    """
    told = [(run, replicates_of(run.records)) for run in runs]
    floors = {limit.figure: limit.floor for limit in limits if limit.floor is not None}
    found: list[Series] = []
    for case in dict.fromkeys(case for _, cases in told for case in cases):
        kinds = _kinds([(run, cases[case]) for run, cases in told if case in cases], allowed)
        for name, figure in FIGURES.items():
            if not figures or name in figures:
                floored = replace(figure, floor=floors.get(name, figure.floor))
                found += _series(case, floored, kinds, allowed)
    return tuple(found)


Kind = list[tuple[Measured, tuple[Record, ...]]]
"""Runs that may be joined, each with its replicates of one case."""


def _kinds(runs: Sequence[tuple[Measured, tuple[Record, ...]]], allowed: frozenset[str]) -> list[Kind]:
    kinds: dict[frozenset[tuple[str, str]], Kind] = {}
    for run, records in runs:
        # All of them: replicates that were not measured alike make a kind of their own.
        facts = frozenset(fact for record in records for fact in _facts(record, allowed).items())
        kinds.setdefault(facts, []).append((run, records))
    return list(kinds.values())


def _facts(record: Record, allowed: frozenset[str]) -> Mapping[str, str]:
    of_machine = {} if ALL in allowed else fingerprint(record)
    facts = {**of_machine, **conditions(record)}
    return {name: fact for name, fact in facts.items() if not {name, name.partition(".")[0]} & allowed}


def _series(case: str, figure: Figure, kinds: Sequence[Kind], allowed: frozenset[str]) -> Iterator[Series]:
    latest = max((run.started for kind in kinds for run, _ in kind), default=None)
    for number, kind in enumerate(kinds, 1):
        points = tuple(_points(figure, kind))
        if points:
            yield Series(
                case=case,
                figure=figure,
                number=number,
                points=points,
                turns=_turns(figure, [point.value for point in points]),
                differs=_differs(kinds[number - 2], kind, allowed) if number > 1 else "",
                is_current=kind[-1][0].started == latest,
                lacks_latest=kind[-1][0] is not points[-1].run,
                unusable=len(kind) - len(points),
            )


def _points(figure: Figure, kind: Kind) -> Iterator[Point]:
    for run, records in kind:
        known = [figure.of(record) for record in records if record.get("validity") == VALID]
        values = [value for value in known if value is not None and value > 0]
        if values:
            yield Point(run=run, value=median(values), replicates=len(values))


def _turns(figure: Figure, values: Sequence[float]) -> tuple[Turn, ...]:
    """Return the changes that are greater than what the figure's floor calls none."""
    found = list(change_points(values))
    while found:
        turns = [_turn(figure, values, found, number) for number in range(len(found))]
        least = min(turns, key=lambda turn: abs(turn.after - turn.before))
        if abs(least.after - least.before) > figure.floor:
            return tuple(turns)
        found.remove(least.at)
    return ()


def _turn(figure: Figure, values: Sequence[float], found: Sequence[int], number: int) -> Turn:
    bounds = [0, *found, len(values)]
    before, after = (median(values[bounds[at] : bounds[at + 1]]) for at in (number, number + 1))
    return Turn(
        at=found[number],
        before=before,
        after=after,
        is_worse=(after > before) is not figure.higher_is_better,
    )


def _differs(before: Kind, now: Kind, allowed: frozenset[str]) -> str:
    """Return in what two kinds differ, by their runs next to each other in time."""
    sides = (before[-1][1], now[0][1])
    found = [*differences(*sides, allowed), *condition_differences(*sides, allowed)]
    more = f", and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
    return "; ".join(found[:MOST_DIFFERENCES]) + more


def failures(
    series: Sequence[Series], limits: Sequence[ChangeLimit], severity: Severity, *, runs: Sequence[Measured]
) -> tuple[str, ...]:
    """Return why the exit code is 1, a line each; nothing where it is 0. ``series`` are of ``runs``.

    A case's current series counts: the one that its latest run is in. What cannot be judged fails by
    ``severity``; auto: where a figure with a limit could be judged of no case at all. Response times of a
    search for capacity are not judged: the rate that was found makes them.
    """
    found: list[str] = []
    limited = [(limit, _limited_cases(runs, FIGURES[limit.figure])) for limit in limits]
    some = [(limit, cases) for limit, cases in limited if cases]
    for limit, cases in some or limited:
        current = [
            each
            for each in series
            if each.is_current and each.figure.name == limit.figure and each.case in cases
        ]
        found += [_worse(each, limit) for each in current if _is_beyond(each, limit)]
        judged = {each.case for each in current if each.is_judged and not each.lacks_latest}
        if (not judged and severity is Severity.AUTO) or (judged != cases and severity is Severity.FAIL):
            found.append(
                f"fails: {limit.figure} could be judged of {len(judged)} of {len(cases)} "
                f"cases: it takes {FEWEST} runs on one machine under one load, and a valid latest one"
            )
    return tuple(found)


def _limited_cases(runs: Sequence[Measured], figure: Figure) -> set[str]:
    """Return the cases that a limit on a figure is for."""
    cases: dict[str, bool] = {}
    for run in runs:
        for case, records in replicates_of(run.records).items():
            cases[case] = figure.is_response_time and any(map(is_capacity, records))
    return {case for case, is_left_out in cases.items() if not is_left_out}


def _worse(series: Series, limit: ChangeLimit) -> str:
    turn = series.turns[-1]
    allowed = -limit.share if series.figure.higher_is_better else limit.share
    return (
        f"fails: {series.case}: {limit.figure} {percent(turn.change)}, limit {100 * allowed:+g}%, "
        f"since {series.points[turn.at].run.name}"
    )


def _is_beyond(series: Series, limit: ChangeLimit) -> bool:
    if not series.turns or not series.turns[-1].is_worse:
        return False
    turn = series.turns[-1]
    floor = series.figure.floor if limit.floor is None else limit.floor
    return abs(turn.change) > limit.share and abs(turn.after - turn.before) > floor
