"""Which of a baseline's cases a run was asked for, and whether it measured them all (pure).

A run may ask for a part of what a baseline holds: one stack of three, or what ``-k`` leaves. What was not
asked for is no doubt. What was, and gave no record, is: its server crashed, or the run was cut short.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt
from pytest_servebench.comparison.replicates import Record, replicates_of

_REPEAT = re.compile(r"-r\d+(?=[-\]])")
_STRONGER = (Doubt.MISSING, Doubt.DIFFERENT, Doubt.INVALID)
"""Doubts that more repeats would not end."""
_SECOND = re.compile(r"#\d+$")


def asked_of(node_ids: Iterable[str], cases: Iterable[str]) -> dict[str, int]:
    """Return those of ``cases`` that tests were collected for, and how many were.

    ``cases`` are called as `replicates.case_name` does.
    """
    tests = Counter(name for node_id in node_ids for name in _names(node_id))
    # A test's second measurement has the test's name, and a number.
    asked = {case: tests[_SECOND.sub("", case)] for case in cases}
    return {case: count for case, count in asked.items() if count}


def asked_in(records: Iterable[Record]) -> dict[str, int]:
    """Return how many replicates each case of a saved run was to have, as these say of themselves.

    Of several runs that are read as one, each number that one of them has counts as there.
    """
    return {case: len(group) + _lost(group) for case, group in replicates_of(records).items()}


def _lost(group: Sequence[Record]) -> int:
    """Return how many of the repeats that were asked for no replicate is."""
    numbers, asked = ({record.get(key) for record in group} for key in ("repeat", "repeats"))
    known = {number for number in (*numbers, *asked) if type(number) is int and number > 0}
    return max(known) - len(known & numbers) if known >= numbers else 0


def only(records: Iterable[Record], cases: Iterable[str]) -> tuple[Record, ...]:
    """Return the records of ``cases``."""
    groups = replicates_of(records)
    return tuple(record for case in dict.fromkeys(cases) for record in groups.get(case, ()))


def with_lost(
    changes: Iterable[Change], asked: Mapping[str, int], measured: Sequence[Record]
) -> tuple[Change, ...]:
    """Return ``changes``, those of a case inconclusive that lost repeats: a part proves nothing green.

    A regression stays one: what was measured proves it.
    """
    counts = {case: len(records) for case, records in replicates_of(measured).items()}
    return tuple(_unless_lost(change, counts.get(change.case, 0), asked) for change in changes)


def _unless_lost(change: Change, count: int, asked: Mapping[str, int]) -> Change:
    wanted = asked.get(change.case, 0)
    settled = change.verdict is ChangeVerdict.REGRESSION or change.doubt in _STRONGER
    if settled or not count or count >= wanted:
        return change
    return replace(
        change,
        verdict=ChangeVerdict.INCONCLUSIVE,
        doubt=Doubt.MISSING,
        reason=f"{wanted - count} of {wanted} repeats that were asked for gave no record",
        remedy="see why their tests ended",
    )


def _names(node_id: str) -> Iterator[str]:
    """Yield the test's name, and what it is without a repeat, wherever one may stand in it."""
    yield node_id
    for found in _REPEAT.finditer(node_id):
        yield node_id[: found.start()] + node_id[found.end() :]
