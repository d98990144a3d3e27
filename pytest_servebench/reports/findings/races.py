"""Who is best in what: winners among cases that were asked alike, and the best configuration of all (pure).

Only cases that may be believed race, and never one alone. A winner is certain where every case of the race
is repeated and no other's interval has a value in common with its own; what it cannot be told from is tied
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.intervals import overlap
from pytest_servebench.reports.findings.finding import Winner
from pytest_servebench.reports.findings.measured import Measured, Value
from pytest_servebench.reports.numbers import three_digits

FEWEST_RACERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """One figure that cases race in."""

    figure: str
    unit: str
    value: Value
    best: Callable[[Sequence[float]], float]
    """`min` or `max`."""


RACES = (
    Race(figure="lowest p50", unit="ms", value=lambda row: row.response_time_p50_ms, best=min),
    Race(figure="lowest p95", unit="ms", value=lambda row: row.response_time_p95_ms, best=min),
    Race(figure="highest throughput", unit="images/s", value=lambda row: row.images_per_s, best=max),
    Race(
        figure="most images/s per GB",
        unit="images/s per GB",
        value=lambda row: row.images_per_s_per_gb,
        best=max,
    ),
    Race(figure="highest GPU use", unit="%", value=lambda row: row.gpu_utilization_percent, best=max),
    Race(figure="highest efficiency", unit="", value=lambda row: row.serving_efficiency, best=max),
    Race(figure="shortest cold start", unit="s", value=lambda row: row.cold_start_s, best=min),
)
"""In the order of reports."""


def winners_of(cases: Sequence[Measured]) -> tuple[Winner, ...]:
    """Return the winner of every race that at least two cases asked alike take part in."""
    groups: dict[object, list[Measured]] = {}
    for case in cases:
        if case.row.is_believed:
            groups.setdefault(case.row.group, []).append(case)
    return tuple(
        winner for group in groups.values() for race in RACES if (winner := _winner(race, group)) is not None
    )


def _winner(race: Race, group: Sequence[Measured]) -> Winner | None:
    racing = {case: value for case in group if (value := race.value(case.row)) is not None}
    if len(racing) < FEWEST_RACERS:
        return None
    best = next(case for case, value in racing.items() if value == race.best(list(racing.values())))
    others = [case for case in racing if case is not best]
    second = race.best([racing[case] for case in others])
    across = best.row.across(race.value)
    tied = [case.name for case in others if _is_tied(race.value, best, case)]
    return Winner(
        figure=race.figure,
        asked=asked(best),
        case=best.name,
        value=racing[best],
        unit=race.unit,
        interval=None if across is None else across.interval,
        runner_up=next(case.name for case in others if racing[case] == second),
        margin=abs(racing[best] - second) / second if second else None,
        tied=tuple(tied),
        certain=not tied and all(_interval(case, race.value) is not None for case in racing),
    )


def asked(case: Measured) -> str:
    """Return what a case and those that race with it share."""
    row = case.row
    batch = f"max batch {row.max_batch_size}, {row.items_per_request} per request, {row.load}"
    return f"{row.benchmark}: {row.model}, {row.payload} over {row.protocol}, {batch}, on {row.device}"


def apart(value: Value, one: Measured, other: Measured) -> bool:
    """Return whether two cases are told apart beyond chance, as far as there are repeats to tell.

    Without repeats nothing tells of chance: then figures are apart that differ in the three digits shown.
    """
    if not one.row.replicates and not other.row.replicates:
        shown = [f"{found:.3g}" for case in (one, other) if (found := value(case.row)) is not None]
        return len(set(shown)) > 1
    intervals = _interval(one, value), _interval(other, value)
    return intervals[0] is not None and intervals[1] is not None and not overlap(intervals[0], intervals[1])


def _is_tied(value: Value, one: Measured, other: Measured) -> bool:
    return not apart(value, one, other)


def _interval(case: Measured, value: Value) -> tuple[float, float] | None:
    across = case.row.across(value) if case.row.replicates else None
    return None if across is None else across.interval


def overall_of(cases: Sequence[Measured]) -> tuple[str, ...]:
    """Return which configuration of all answers fastest, and which serves most, a sentence each.

    Across benchmarks and loads, but of one model, payload, protocol and device; there are none where
    that leaves a single stack and format.
    """
    groups: dict[object, list[Measured]] = {}
    for case in cases:
        row = case.row
        if row.is_believed:
            key = (row.model, row.payload, row.protocol, row.device)
            groups.setdefault(key, []).append(case)
    wanted = [group for group in groups.values() if len({case.name for case in group}) > 1]
    return tuple(
        f"{sentence}{_of(group[0]) if len(wanted) > 1 else ''}"
        for group in wanted
        for sentence in _best_of(group)
    )


def _whose(first: Measured, second: Measured) -> str:
    stack = second.row.stack
    return f"{stack}'s best" if stack != first.row.stack else "the next one"


def _best_of(group: Sequence[Measured]) -> Iterator[str]:
    """Yield the sentences of one model, payload, protocol and device."""
    served = [case for case in group if case.row.images_per_s and case.in_flight]
    if len({case.name for case in served}) > 1:
        first, second = _best_and_rival(served, lambda case: -(case.row.images_per_s or 0))
        times = (first.row.images_per_s or 0) / (second.row.images_per_s or 1)
        yield (
            f"Most images/s: {configuration(first)}: {three_digits(first.row.images_per_s)}, with a p95 of"
            f" {three_digits(first.row.response_time_p95_ms)} ms; {three_digits(times)} times"
            f" {_whose(first, second)} ({configuration(second)}: {three_digits(second.row.images_per_s)})"
            f"{_chance(lambda row: row.images_per_s, first, second)}"
        )
    timed = [case for case in group if case.row.response_time_p95_ms]
    if len({case.name for case in timed}) > 1:
        first, second = _best_and_rival(timed, lambda case: case.row.response_time_p95_ms or 0)
        times = (second.row.response_time_p95_ms or 0) / (first.row.response_time_p95_ms or 1)
        yield (
            f"Lowest p95: {configuration(first)}: {three_digits(first.row.response_time_p95_ms)} ms;"
            f" {configuration(second)} has {three_digits(times)} times that"
            f" ({three_digits(second.row.response_time_p95_ms)} ms)"
            f"{_chance(lambda row: row.response_time_p95_ms, first, second)}"
        )


def _best_and_rival(
    cases: Sequence[Measured], rank: Callable[[Measured], float]
) -> tuple[Measured, Measured]:
    """Return the best case, and the best of the next stack; of one stack alone that of the next format."""
    ranked = sorted(cases, key=rank)
    best = ranked[0]
    others = [case for case in ranked if case.row.stack != best.row.stack]
    return best, (others or [case for case in ranked if case.name != best.name])[0]


def _chance(value: Value, one: Measured, other: Measured) -> str:
    if not (one.row.replicates and other.row.replicates):
        return "; one start each, so nothing says how much of it is chance"
    return "" if apart(value, one, other) else "; their intervals overlap, so it may be chance"


def configuration(case: Measured) -> str:
    """Return all that somebody needs to know to set a case up."""
    items = f", {case.row.items_per_request} per request" if case.row.items_per_request > 1 else ""
    return f"{case.name}, max batch {case.row.max_batch_size}{items}, {case.row.load}"


def _of(case: Measured) -> str:
    row = case.row
    return f" ({row.model}, {row.payload} over {row.protocol}, on {row.device})"
