"""How a comparison is told: counts, which run is which, numbers, verdicts, what is missing (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_servebench.comparison.changes import Change, ChangeVerdict
from pytest_servebench.comparison.chronicle import commit_text
from pytest_servebench.comparison.saved_runs import SavedRun, described
from pytest_servebench.comparison.sentences import percent, sentence
from pytest_servebench.comparison.side_by_side import SHOWN_FIRST, ComparedFigure, SideBySide
from pytest_servebench.reports.rendering import NOT_AVAILABLE

_COUNTED = (
    (ChangeVerdict.REGRESSION, "regression", "regressions"),
    (ChangeVerdict.IMPROVEMENT, "improvement", "improvements"),
    (ChangeVerdict.PASS, "passed", "passed"),
    (ChangeVerdict.INCONCLUSIVE, "inconclusive", "inconclusive"),
)


def headline(side: SideBySide) -> str:
    """Return ``2 regressions, 1 improvement, 21 passed``; what there is none of is left out."""
    counts = side.verdicts
    told = [
        f"{counts[verdict]} {one if counts[verdict] == 1 else many}"
        for verdict, one, many in _COUNTED
        if counts[verdict]
    ]
    return ", ".join(told) or "nothing judged: no figure that is shown has a limit"


def legend(side: SideBySide) -> list[tuple[str, str]]:
    """Return each run's letter and what it is: its name, when and of which commit, and how much."""
    return [
        (letter, _run_words(run) + (", the baseline" if letter == side.letters[0] else ""))
        for letter, run in zip(side.letters, side.runs, strict=True)
    ]


def _run_words(run: SavedRun) -> str:
    commit = commit_text(run)
    return f"{described(run)}, commit {commit}" if commit else described(run)


def when(run: SavedRun) -> str:
    """Return when a run started, or the first and the last of several; empty where none has kept it."""
    started = sorted(str(facts["started"]) for facts in run.facts if facts.get("started"))
    return " to ".join(dict.fromkeys((started[0], started[-1]))) if started else ""


def difference_lines(side: SideBySide) -> list[str]:
    """Return in what each run differs from the baseline, a line each."""
    return [
        f"{letter} differs from {side.letters[0]}: {'; '.join(found)}"
        for number, letter in enumerate(side.letters[1:], 1)
        if (found := side.differences(number))
    ]


def nothing_in_common(side: SideBySide) -> str:
    """Return that nothing is compared, in place of a line for every case that only one run has."""
    return f"No case of {side.letters[0]} is in another of these runs, so nothing is compared"


def one_sided_lines(side: SideBySide) -> list[str]:
    """Return the cases that not every run has, a line each."""
    partial = [case for case in side.cases if case not in side.common_cases]
    return [f"only in {', '.join(side.holders(case))}: {case}" for case in partial]


def compared_rows(side: SideBySide) -> list[ComparedFigure]:
    """Return what a table shows: cases of the baseline and another run, figures that any run has."""
    shown = {case for case in side.cases if side.letters[0] in (held := side.holders(case)) and len(held) > 1}
    absent = set(absent_figures(side))
    return [row for row in side.rows if row.case in shown and row.figure not in absent]


def absent_figures(side: SideBySide) -> list[str]:
    """Return the figures without a limit that no run has."""
    kept = {row.figure for row in side.rows if row.is_known or row.is_limited}
    return [name for name in dict.fromkeys(row.figure for row in side.rows) if name not in kept]


def absent_lines(side: SideBySide) -> list[str]:
    """Return one line that names the `absent_figures`."""
    absent = absent_figures(side)
    return [f"{NOT_AVAILABLE} in every run: {', '.join(absent)}"] if absent else []


def change_lines(side: SideBySide) -> list[str]:
    """Return a line for each regression, each reason of a doubt, and each improvement, in this order."""
    told = {verdict: list(_sentences(side, verdict)) for verdict in SHOWN_FIRST}
    told[ChangeVerdict.INCONCLUSIVE] = [
        _of_run(side, letter) + _doubt(changes) for letter, changes in shared_doubts(side)
    ]
    return [line for verdict in SHOWN_FIRST for line in told[verdict]]


def shared_doubts(side: SideBySide) -> list[tuple[str, list[Change]]]:
    """Return the doubtful figures that have a limit, those of one run with one reason together."""
    shared: dict[tuple[str, str, str], list[Change]] = {}
    for letter, change in side.changes:
        if change.verdict is ChangeVerdict.INCONCLUSIVE and change.limit is not None:
            shared.setdefault((letter, change.reason, change.remedy), []).append(change)
    return [(letter, changes) for (letter, _, _), changes in shared.items()]


def why(change: Change) -> str:
    """Return a doubt's reason and what would help."""
    return f"{change.reason}; {change.remedy}" if change.remedy else change.reason


def _sentences(side: SideBySide, verdict: ChangeVerdict) -> Iterator[str]:
    for letter, change in side.changes:
        if change.verdict is verdict:
            yield _of_run(side, letter) + sentence(change)


def _doubt(changes: Sequence[Change]) -> str:
    first = changes[0]
    return f"{verdict_words(first)}: {len(changes)} figures: {why(first)}" if changes[1:] else sentence(first)


def _of_run(side: SideBySide, letter: str) -> str:
    return f"{letter}: " if len(side.letters) > len("AB") else ""


def verdict_words(change: Change | None) -> str:
    """Return ``regression`` or ``inconclusive: too_few``; empty where nobody asked for a verdict."""
    if change is None or change.verdict is ChangeVerdict.NOT_LIMITED:
        return ""
    return f"{change.verdict}: {change.doubt}" if change.doubt else str(change.verdict)


def change_words(change: Change | None) -> str:
    """Return ``+16.3%``."""
    return NOT_AVAILABLE if change is None or change.change is None else percent(change.change)


def interval_words(change: Change | None) -> str:
    """Return ``[+12.1%, +19.8%]``; empty where so few replicates give none."""
    if change is None or change.interval is None:
        return ""
    return f"[{percent(change.interval[0])}, {percent(change.interval[1])}]"


def figure_words(row: ComparedFigure) -> str:
    """Return ``p95 ms``."""
    return f"{row.figure} {row.unit}".rstrip()
