"""From saved runs to a baseline, and what speaks against it (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_servebench.comparison.baselines import Baseline
from pytest_servebench.comparison.fingerprint import mixed, summary
from pytest_servebench.comparison.replicates import Record, replicates_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.comparison.significance import is_enough
from pytest_servebench.comparison.trimmed import trimmed
from pytest_servebench.errors import PlanError
from pytest_servebench.words import listed

GATING_REPEATS = 10
"""Repeats of the runs that will be judged, where nobody says otherwise."""
_VALID = "valid"


def baseline_of(runs: Sequence[SavedRun], *, name: str, promoted: str) -> Baseline:
    """Return what a baseline holds that is made of ``runs``; raises `PlanError` for a run given twice.

    ``promoted`` is when, as text. What speaks against it is not looked at: see `doubts_of`.
    """
    _check_twice(runs)
    records = tuple(trimmed(record) for run in runs for record in run.records)
    return Baseline(
        name=name,
        promoted=promoted,
        runs=tuple(_origin(fact, path) for run in runs for fact, path in _files(run)),
        fingerprint=summary(records),
        records=records,
    )


def doubts_of(records: Sequence[Record]) -> tuple[str, ...]:
    """Return a sentence for each reason not to judge others by ``records``; none where they may be."""
    groups = replicates_of(records)
    found: list[str] = []
    for case, replicates in groups.items():
        found += [
            f"{case}: repeat {number} of {len(replicates)} is {record.get('validity')}: "
            f"{record.get('reason')}"
            for number, record in enumerate(replicates, 1)
            if record.get("validity") != _VALID
        ]
        found += [f"{case}: its repeats were not measured alike: {fact}" for fact in mixed(replicates)]
    found += [
        f"{case}: its server was not started for each repeat, so that its repeats are one run"
        for case, replicates in groups.items()
        if any(record.get("restarted") is False for record in replicates)
    ]
    few = [case for case, replicates in groups.items() if not is_enough(len(replicates), GATING_REPEATS)]
    return (*found, *_too_few(groups, few))


def _too_few(groups: dict[str, tuple[Record, ...]], few: Sequence[str]) -> Iterator[str]:
    counts = Counter(len(groups[case]) for case in few)
    for count, cases in counts.items():
        named = [case for case in few if len(groups[case]) == count]
        yield (
            f"{cases} of {len(groups)} cases have {count} repeat{'s' * (count > 1)}, with which no change is "
            f"significant beside {GATING_REPEATS} (measure with --serve-repeats={GATING_REPEATS}): "
            f"{listed(named)}"
        )


def _check_twice(runs: Sequence[SavedRun]) -> None:
    """Raise `PlanError` for a run that is given twice: its repeats would count as others'."""
    seen = [(str(fact["run_id"]), path) for run in runs for fact, path in _files(run) if fact.get("run_id")]
    times = Counter(run_id for run_id, _ in seen)
    for run_id, count in times.items():
        if count > 1:
            raise PlanError(
                "one run is given twice, and would count as more repeats than were measured",
                where=listed(path for seen_id, path in seen if seen_id == run_id),
                seen=f"run {run_id} in each of them",
                next_step="give every run once",
            )


def _files(run: SavedRun) -> Iterator[tuple[dict[str, object], str]]:
    """Yield the facts of each file of a run, with its name; a baseline's facts name theirs themselves."""
    paths = [path.name for path in run.paths]
    for place, fact in enumerate(run.facts):
        own = paths[place] if len(paths) == len(run.facts) else ", ".join(paths)
        yield dict(fact), str(fact.get("file", own))


def _origin(fact: dict[str, object], file: str) -> dict[str, object]:
    return {"file": file, "run_id": fact.get("run_id"), "started": fact.get("started")}
