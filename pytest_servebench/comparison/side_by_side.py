"""Several runs beside each other, the first being the baseline of all others (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from pytest_servebench.comparison.asked_for import asked_in, with_lost
from pytest_servebench.comparison.changes import (
    DEFAULT_LIMITS,
    Change,
    ChangeLimit,
    ChangeVerdict,
    Severity,
)
from pytest_servebench.comparison.figures import FIGURES, figure_named
from pytest_servebench.comparison.fingerprint import differences
from pytest_servebench.comparison.regression import changes_of, failing
from pytest_servebench.comparison.replicates import replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.errors import PlanError

JUDGED = tuple(verdict for verdict in ChangeVerdict if verdict is not ChangeVerdict.NOT_LIMITED)
SHOWN_FIRST = (ChangeVerdict.REGRESSION, ChangeVerdict.INCONCLUSIVE, ChangeVerdict.IMPROVEMENT)
"""What a person looks for, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One figure of one case in every run."""

    case: str
    figure: str
    values: tuple[float | None, ...]
    """Median of each run's replicates, in the order of the runs."""
    changes: tuple[Change | None, ...]
    """Of each run but the first, against the first; None where both have no such case."""

    @property
    def unit(self) -> str:
        """The values' unit; empty for a share."""
        return FIGURES[self.figure].unit

    @property
    def is_known(self) -> bool:
        """Whether any run has it."""
        return any(value is not None for value in self.values)

    @property
    def is_limited(self) -> bool:
        """Whether a verdict was asked for."""
        return any(change is not None and change.limit is not None for change in self.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Runs with what has changed between them."""

    runs: tuple[SavedRun, ...]
    rows: tuple[ComparedFigure, ...]
    """By case, then figure; cases in the order of the first run that has them."""

    @property
    def letters(self) -> tuple[str, ...]:
        """What a table calls the runs: A is the baseline."""
        return tuple(ascii_uppercase[: len(self.runs)])

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases of any run."""
        return tuple(dict.fromkeys(row.case for row in self.rows))

    @property
    def common_cases(self) -> tuple[str, ...]:
        """The cases that every run has."""
        here = [set(replicates_of(run.records)) for run in self.runs]
        return tuple(case for case in self.cases if all(case in cases for cases in here))

    @property
    def has_something_in_common(self) -> bool:
        """Whether a case of the baseline is in another run too: without one there is nothing to compare."""
        first, *others = (set(replicates_of(run.records)) for run in self.runs)
        return any(first & other for other in others)

    @property
    def changes(self) -> tuple[tuple[str, Change], ...]:
        """Every change with the letter of its run, by case, then figure, then run."""
        return tuple(
            (letter, change)
            for row in self.rows
            for letter, change in zip(self.letters[1:], row.changes, strict=True)
            if change is not None
        )

    @property
    def verdicts(self) -> Counter[ChangeVerdict]:
        """How often each verdict was given, on figures that have a limit."""
        return Counter(change.verdict for _, change in self.changes if change.limit is not None)

    def holders(self, case: str) -> tuple[str, ...]:
        """Return the letters of the runs that have a case."""
        found = zip(self.letters, self.runs, strict=True)
        return tuple(letter for letter, run in found if case in replicates_of(run.records))

    def failing(self, severity: Severity) -> tuple[tuple[str, Change], ...]:
        """Return the changes that make the exit code 1, with the letters of their runs."""
        return tuple(each for each in self.changes if failing([each[1]], severity))

    def differences(self, number: int) -> tuple[str, ...]:
        """Return in what the run of this number (1 is the second) differs from the first, in words.

        Of what their common cases depend on: machine, versions, weights, launcher.
        """
        before, now = (replicates_of(self.runs[at].records) for at in (0, number))
        found = [differences(before[case], now[case], frozenset()) for case in before if case in now]
        return tuple(dict.fromkeys(difference for each in found for difference in each))


def side_by_side(
    runs: Sequence[SavedRun],
    *,
    limits: Sequence[ChangeLimit] | None = None,
    figures: Sequence[str] = (),
    allowed: frozenset[str] = frozenset(),
) -> SideBySide:
    """Return ``runs`` compared with the first of them, by `regression.changes_of`.

    ``figures`` are shown, all if empty; those with a limit always are. Without ``limits`` they are the
    gate's own, for the figures that are shown. Raises `PlanError` for a figure that does not exist, or
    for fewer than 2 or more than 26 runs.
    """
    if not 1 < len(runs) <= len(ascii_uppercase):
        raise PlanError(
            f"2 to {len(ascii_uppercase)} runs can be compared",
            seen=f"{len(runs)}",
            next_step="many runs over time are read by: servebench history RUN...",
        )
    asked = [figure_named(name).name for name in figures] or list(FIGURES)
    if limits is None:
        limits = [limit for limit in DEFAULT_LIMITS if limit.figure in asked]
    before = runs[0].records
    changes = [
        with_lost(
            changes_of(before, run.records, limits=limits, figures=asked, allowed=allowed),
            asked_in(run.records),
            run.records,
        )
        for run in runs[1:]
    ]
    found = [{(each.case, each.figure): _as_told_here(each) for each in side} for side in changes]
    return SideBySide(runs=_told_apart(runs), rows=_rows(runs, found))


def _told_apart(runs: Sequence[SavedRun]) -> tuple[SavedRun, ...]:
    """Return ``runs``, those of one name called by their paths."""
    counts = Counter(run.name for run in runs)
    return tuple(
        replace(run, name=", ".join(map(str, run.paths))) if counts[run.name] > 1 and run.paths else run
        for run in runs
    )


def _rows(
    runs: Sequence[SavedRun], found: Sequence[dict[tuple[str, str], Change]]
) -> tuple[ComparedFigure, ...]:
    cases = dict.fromkeys(case for run in runs for case in replicates_of(run.records))
    known = {key for side in found for key in side}
    return tuple(
        _row(case, figure, [side.get((case, figure)) for side in found])
        for case in cases
        for figure in FIGURES
        if (case, figure) in known
    )


def _row(case: str, figure: str, changes: Sequence[Change | None]) -> ComparedFigure:
    baseline = next((change.baseline for change in changes if change is not None), None)
    now = [None if change is None else change.now for change in changes]
    return ComparedFigure(case=case, figure=figure, values=(baseline, *now), changes=tuple(changes))


def _as_told_here(change: Change) -> Change:
    """Return a change whose remedy names the option of this command, not pytest's."""
    return replace(change, remedy=change.remedy.replace("--serve-allow-different", "--allow-different"))
