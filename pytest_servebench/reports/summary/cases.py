"""The cases of runs as summaries tell them: a joined row each, with the records that are behind it (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.reports.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryCase:
    """One case of one run."""

    run: str
    """The run's letter: A is the first."""
    name: str
    """As `replicates.case_name` has it."""
    row: Row
    """Its figures; medians, where it was repeated."""
    records: tuple[Record, ...]
    """Of each replicate, at least one."""

    @property
    def reason(self) -> str:
        """Why its verdict is what it is, in a sentence or more; empty where nothing is to be said."""
        row = self.row
        if not row.is_believed:
            return row.reason or _missing_repeats(row)
        breaches = [breach for one in row.replicates or (row,) for breach in one.breaches]
        return "; ".join(dict.fromkeys(breaches)) or row.verdict_reason


def letter(number: int) -> str:
    """Return what the run of this number, from 0, is called: A to Z, then AA, AB, ..."""
    most = len(ascii_uppercase)
    return (letter(number // most - 1) if number >= most else "") + ascii_uppercase[number % most]


def cases_of(runs: Sequence[SavedRun]) -> list[SummaryCase]:
    """Return the cases by run, then in order of first appearance; each unnumbered measurement is its own."""
    return [
        SummaryCase(run=letter(number), name=name, row=joined_rows(records)[0], records=records)
        for number, run in enumerate(runs)
        for name, replicates in replicates_of(run.records).items()
        for records in _rows_apart(replicates)
    ]


def _rows_apart(replicates: Sequence[Record]) -> Iterator[tuple[Record, ...]]:
    """Yield the records of each row that `joined_rows` makes of a case."""
    numbered = tuple(record for record in replicates if record.get("repeat") is not None)
    yield from ((record,) for record in replicates if record.get("repeat") is None)
    if numbered:
        yield numbered


def _missing_repeats(row: Row) -> str:
    return f"{len(row.valid)} of {row.wanted} repeats are valid" if row.replicates else ""
