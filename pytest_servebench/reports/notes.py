"""The lines below the tables: values in, text out; what is said of many measurements is said once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_servebench.reports.row import VALID, Row

_NUMBER = re.compile(r"(?<![\w./:-])\d+(?:\.\d+)?(?=%|[,;:]?(?:\s|$))")
"""A figure in a sentence; not a part of a name, a version, an address or a path."""


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what the rows' figures do not say: a line for each search, doubt, breach and shared reason.

    Doubts of one kind about the repeats of one case share a line, and so do warnings of one kind, whoever
    they are about: a machine that is busy is busy for all, and a suite has hundreds of measurements.
    """
    lines = []
    for row in rows:
        measured = row.replicates or (row,)
        lines += [capacity_line(one, one.capacity) for one in measured if one.capacity]
        lines += _doubts(row, [one for one in measured if one.validity != VALID])
        lines += [f"breach: {one.label}: {sentence}" for one in measured for sentence in one.breaches]
    return [*lines, *_warnings(rows), *_absent(rows), *_shared_reasons(rows)]


def faults(rows: Sequence[Row]) -> list[str]:
    """Return only what is wrong: each doubt and each breach."""
    lines: list[str] = []
    for row in rows:
        measured = row.replicates or (row,)
        lines += _doubts(row, [one for one in measured if one.validity != VALID])
        lines += [f"breach: {one.label}: {sentence}" for one in measured for sentence in one.breaches]
    return lines


def capacity_line(row: Row, capacity: Mapping[str, Any]) -> str:
    """Return what a search found: the last rate that held, the first that failed, and the objective."""
    failing = capacity["first_failing_per_s"]
    undecided = [f"{t['rate_per_s']:g}" for t in capacity["trials"] if t["verdict"] == "undecided"]
    held = "none" if row.capacity_per_s is None else f"{row.capacity_per_s:g}/s"
    failed = "none" if failing is None else f"{failing:g}/s"
    between = f", undecided {', '.join(undecided)}/s" if undecided else ""
    trials = f"{len(capacity['trials'])} trials"
    return f"capacity: {row.label}: last pass {held}, first fail {failed}{between} ({trials})"


def _doubts(row: Row, doubtful: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each kind of reason not to believe a case, and which repeats it is of."""
    for (validity, _), alike in _grouped((one.validity, one.reason, one) for one in doubtful):
        where = alike[0].label
        if len(alike) > 1:
            repeats = ", ".join(str(one.repeat) for one in alike)
            where = f"{replace(row, repeat=None).label}, repeats {repeats}"
        yield f"{validity}: {where}: {joined_sentence([one.reason for one in alike])}"


def _warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each kind of warning: of one measurement its name, of several how many."""
    measured = [one for row in rows for one in row.replicates or (row,)]
    warned = [(one, sentence) for one in measured for sentence in one.warnings]
    for _, alike in _grouped(("", sentence, (one, sentence)) for one, sentence in warned):
        where = alike[0][0].label if len(alike) == 1 else f"{len(alike)} of {len(measured)} measurements"
        yield f"warning: {where}: {joined_sentence([sentence for _, sentence in alike])}"


def _absent(rows: Sequence[Row]) -> Iterator[str]:
    """Yield why the model in process has no figure, where it was asked and should have one."""
    measured = [one for row in rows for one in row.replicates or (row,)]
    reasons = Counter(one.raw_absent for one in measured if one.raw_absent)
    for why, count in reasons.items():
        yield f"no efficiency: {count} of {len(measured)} measurements: {why}"


def _shared_reasons(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each reason of a verdict, with the number of cases that have it."""
    shared = Counter(
        (row.judgement, row.verdict_reason) for row in rows if row.judgement and row.verdict_reason
    )
    for (word, why), count in shared.items():
        yield f"{word}: {count} of {len(rows)} cases: {why}"


def joined_sentence(sentences: Sequence[str]) -> str:
    """Return one sentence for several that differ in their figures only: ``0.5 to 1.9 of the 2 cores``."""
    found = [_NUMBER.findall(sentence) for sentence in sentences]
    ranges = iter(_range(column) for column in zip(*found, strict=True))
    return _NUMBER.sub(lambda _: next(ranges), sentences[0])


def _range(figures: Sequence[str]) -> str:
    low, high = min(figures, key=float), max(figures, key=float)
    return low if float(low) == float(high) else f"{low} to {high}"


def _grouped(found: Iterable[tuple[str, str, Any]]) -> Iterable[tuple[tuple[str, str], list[Any]]]:
    """Return what has one word, and one sentence but for its figures, in order of first appearance."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for word, sentence, each in found:
        groups.setdefault((word, _NUMBER.sub("#", sentence)), []).append(each)
    return groups.items()
