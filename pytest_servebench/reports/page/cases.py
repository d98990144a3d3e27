"""The measured cases of all runs, each with its row and the records it was made of (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.reports.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCase:
    """One case of one run."""

    run: int
    """The number of its run, from 0."""
    letter: str
    """What tables call its run; empty where there is one run only."""
    anchor: str
    """Where the page tells its conditions."""
    row: Row
    records: tuple[Record, ...]
    """Its replicates; one where it is not repeated."""

    @property
    def name(self) -> str:
        """The case in a line of its own."""
        return f"{self.letter}: {self.row.label}" if self.letter else self.row.label


def letters_of(runs: Sequence[SavedRun]) -> tuple[str, ...]:
    """Return what tables call the runs: ``A`` .. ``Z``, then numbers; of one run nothing."""
    if len(runs) == 1:
        return ("",)
    return tuple(ascii_uppercase[at] if at < len(ascii_uppercase) else str(at + 1) for at in range(len(runs)))


def cases_of(runs: Sequence[SavedRun]) -> tuple[PageCase, ...]:
    """Return every case by run, in order of first appearance."""
    return tuple(
        PageCase(run=run, letter=letter, anchor=f"case-{run + 1}-{number}", row=row, records=records)
        for run, letter in enumerate(letters_of(runs))
        for number, (row, records) in enumerate(_measured(runs[run].records), 1)
    )


def _measured(records: Sequence[Record]) -> Iterator[tuple[Row, tuple[Record, ...]]]:
    """Yield each row of `repeats.joined_rows` with its records."""
    for alike in replicates_of(records).values():
        owners = [(record,) for record in alike if record.get("repeat") is None]
        numbered = tuple(record for record in alike if record.get("repeat") is not None)
        yield from zip(joined_rows(alike), [*owners, numbered] if numbered else owners, strict=True)
