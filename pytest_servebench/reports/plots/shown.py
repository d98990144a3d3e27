"""The cases that plots show: what each is called, its colour, and whether it may be believed (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.palette import variable_of
from pytest_servebench.reports.repeats import joined
from pytest_servebench.reports.row import VALID, Row

_ASKED: Mapping[str, str] = {
    "benchmark": "{}",
    "model": "{}",
    "payload": "{}",
    "protocol": "over {}",
    "device": "on {}",
    "max_batch_size": "max batch {}",
    "items_per_request": "{} per request",
    "load": "{}",
}
"""What `Row.group` is made of, and how it reads."""
_ALWAYS_SAID = ("benchmark", "load")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCase:
    """A case of a run, with all its replicates."""

    row: Row
    records: tuple[Record, ...]
    """Its replicates, or the one record."""
    run: str
    """The run's name, told from others of that name; empty where there is one run."""
    label: str
    """Stack, format and unusual precision, and what else tells it from others that were asked alike."""
    group: int
    """The number of what was asked: cases of one number may be compared."""
    asked: str
    """That in words, as far as it differs between cases."""
    colour: str
    """Of its stack, a CSS variable."""

    @property
    def doubt(self) -> str:
        """Why it must not pass for a good one; empty: it may."""
        if self.row.is_believed:
            return ""
        if self.row.validity != VALID:
            return self.row.validity
        return f"{len(self.row.valid)} of {self.row.wanted} repeats"

    @property
    def name(self) -> str:
        """The label, with its doubt."""
        return f"{self.label} (not valid: {self.doubt})" if self.doubt else self.label

    @property
    def whole_name(self) -> str:
        """Its name, and what was asked."""
        return f"{self.name}, {self.asked}"


def shown_cases(runs: Sequence[SavedRun]) -> tuple[ShownCase, ...]:
    """Return every case of every run, those that were asked alike together, else in order of appearance."""
    names = _run_names(runs)
    found = [(name, *each) for name, run in zip(names, runs, strict=True) for each in _rows(run.records)]
    rows = [row for _, row, _ in found]
    groups = {group: number for number, group in enumerate(dict.fromkeys(row.group for row in rows))}
    colours, said = variable_of(row.stack for row in rows), _said(rows)
    met = {(groups[row.group], name) for name, row, _ in found}
    # Runs of a load each have no figure in common to be told apart in.
    told = len({name for _, name in met}) > 1 and len(met) > len(groups)
    taken: dict[tuple[int, str], int] = {}
    cases = []
    for run, row, records in found:
        group = groups[row.group]
        label = f"{row.stack} {row.form}" + (f", {run}" if told else "")
        times = taken[group, label] = taken.get((group, label), 0) + 1
        cases.append(
            ShownCase(
                row=row,
                records=records,
                run=run,
                label=label if times == 1 else f"{label} #{times}",
                group=group,
                asked=", ".join(_ASKED[name].format(_word(row, name)) for name in said if _word(row, name)),
                colour=colours[row.stack],
            )
        )
    return tuple(sorted(cases, key=lambda case: (case.group, case.label)))


def finite(value: object) -> float | None:
    """Return a number that can be drawn; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if isfinite(value) else None


def _rows(records: Sequence[Record]) -> Iterator[tuple[Row, tuple[Record, ...]]]:
    """Yield the rows of `repeats.joined_rows`, each with the records that it is of."""
    for replicates in replicates_of(records).values():
        numbered = tuple(each for each in replicates if each.get("repeat") is not None)
        for each in replicates:
            if each.get("repeat") is None:
                yield Row.from_record(each), (each,)
        if numbered:
            yield joined(tuple(map(Row.from_record, numbered))), numbered


def _said(rows: Sequence[Row]) -> list[str]:
    return [name for name in _ASKED if name in _ALWAYS_SAID or len({getattr(row, name) for row in rows}) > 1]


def _word(row: Row, name: str) -> str:
    return str(getattr(row, name)).removeprefix("test_")


def _run_names(runs: Sequence[SavedRun]) -> list[str]:
    """Return a name for each run that no other has; empty for one alone."""
    if len(runs) == 1:
        return [""]
    names: list[str] = []
    for run in runs:
        times = sum(run.name == other.name for other in runs[: len(names)])
        names.append(f"{run.name} ({times + 1})" if times else run.name)
    return names
