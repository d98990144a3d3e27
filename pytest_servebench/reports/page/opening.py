"""The first screen: what was measured, who won and why, and what a reader should beware of (pure)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.comparison_words import when
from pytest_servebench.reports.findings.finding import Findings, Winner
from pytest_servebench.reports.findings.headline import (
    answer,
    deciding_winners,
    listed,
    percent,
    told_apart,
    value_of,
)
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.page.cases import PageCase, letters_of
from pytest_servebench.reports.page.fields_shown import shown_over
from pytest_servebench.reports.page.meanings import FIGURE_MEANINGS
from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.reports.row import Row

FEW_REPLIES = 100
"""Of fewer the p95 is one of the five slowest."""
RANDOM_WEIGHTS = "random"
_MOST_RACES, _MOST_RUNS = 3, 2
"""What the first screen tells one by one; everything stands under the findings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WinnerWords:
    """A winner, told."""

    figure: str
    meaning: str
    """What the figure is, for who never heard of it; may be empty."""
    case: str
    value: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """The winners among cases that were asked alike."""

    run: str
    asked: str
    winners: tuple[WinnerWords, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What stands above everything else."""

    title: str
    answers: tuple[str, ...]
    """Who won, in a sentence or two for each run."""
    overall: tuple[str, ...]
    """The best of all configurations; empty where one race says the same."""
    certainty: str
    """How sure that is."""
    races: tuple[Race, ...]
    more_races: int
    """How many there are under the findings that are not told here."""
    cautions: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def opening_of(runs: Sequence[SavedRun], cases: Sequence[PageCase], found: Sequence[Findings]) -> Opening:
    """Return the first screen; ``found`` are the findings of each run."""
    deciding = [winner for each in found for winner in deciding_winners(each)]
    one_run = len(runs) == 1
    races = tuple(
        race
        for letter, each in zip(letters_of(runs), found, strict=True)
        for race in races_of(deciding_winners(each), letter)
    )
    few = len(runs) <= _MOST_RUNS
    overall = tuple(_overall(runs, found)) if few and len(races) > 1 else ()
    most = 0 if overall or not few else _MOST_RACES
    return Opening(
        title=_title(cases),
        answers=(answer(deciding, _rows(cases)),) if one_run else tuple(_of_runs(runs, cases, found)),
        overall=overall,
        certainty=certainty(deciding),
        races=races[:most],
        more_races=len(races[most:]),
        cautions=tuple(_cautions(cases)),
        facts=tuple(_facts(runs)),
    )


def _overall(runs: Sequence[SavedRun], found: Sequence[Findings]) -> Iterator[str]:
    """Yield the best of all configurations, with the run's letter where there are several."""
    for letter, each in zip(letters_of(runs), found, strict=True):
        yield from (f"{letter}: {sentence}" if letter else sentence for sentence in each.overall)


def certainty(winners: Sequence[Winner]) -> str:
    """Return how sure the order is."""
    if not winners:
        return ""
    if all(each.certain for each in winners):
        return (
            "How sure is that? Repeats confirm it: the 95% intervals of the best and of all others are apart."
        )
    if all(each.interval is None for each in winners):
        return (
            "How sure is that? Each case was measured once, and servers differ from start to start, so close "
            "figures may change places: --serve-repeats=5 tells."
        )
    unsure = list(dict.fromkeys(each.figure for each in winners if not each.certain))
    return (
        f"How sure is that? Not beyond doubt: in {listed(unsure)} another's 95% interval over server starts "
        "overlaps the best's, or is not known."
    )


def races_of(winners: Sequence[Winner], run: str = "") -> Iterator[Race]:
    """Yield the winners by what was asked, told without the words that all share."""
    short = told_apart([each.asked for each in winners]) if winners else {}
    for asked in dict.fromkeys(each.asked for each in winners):
        alike = tuple(winner_words(each) for each in winners if each.asked == asked)
        yield Race(run=run, asked=short[asked], winners=alike)


def winner_words(winner: Winner) -> WinnerWords:
    """Return a winner with its figure, its lead, and how sure it is."""
    why = []
    if winner.is_level:
        why.append("no winner: they are level")
    elif winner.margin is not None and winner.runner_up:
        why.append(f"{percent(winner.margin)} better than {winner.runner_up}")
    elif winner.runner_up:
        why.append(f"before {winner.runner_up}")
    if winner.interval is not None:
        low, high = (number(each, decimals([each])) for each in winner.interval)
        why.append(
            f"95% interval {low} to {high}"
            + ("" if winner.certain or winner.tied else ", another's is not known")
        )
    if winner.tied and not winner.is_level:
        why.append(f"cannot be told from {listed(winner.tied)}")
    return WinnerWords(
        figure=winner.figure,
        meaning=next((text for word, text in FIGURE_MEANINGS.items() if word in winner.figure), ""),
        case=winner.level if winner.is_level else winner.case,
        value=value_of(winner),
        why="; ".join(why),
    )


def _of_runs(runs: Sequence[SavedRun], cases: Sequence[PageCase], found: Sequence[Findings]) -> Iterator[str]:
    for letter, run, each in zip(letters_of(runs), runs, found, strict=True):
        own = [case for case in cases if case.letter == letter]
        yield f"{letter} ({run.name}): {answer(deciding_winners(each), _rows(own))}"


def _rows(cases: Sequence[PageCase]) -> list[Row]:
    return [case.row for case in cases]


def _title(cases: Sequence[PageCase]) -> str:
    models = listed(list(dict.fromkeys(case.row.model for case in cases)))
    stacks = listed(list(dict.fromkeys(case.row.stack for case in cases)))
    devices = listed(list(dict.fromkeys(case.row.device for case in cases)))
    return f"{models} served by {stacks}, on {devices}"


def _cautions(cases: Sequence[PageCase]) -> Iterator[str]:
    records = [record for case in cases for record in case.records]
    doubtful = sum(not case.row.is_believed for case in cases)
    failed = sum(case.row.judgement == "fail" for case in cases)
    if doubtful:
        yield f"{doubtful} of {len(cases)} cases may not be believed, and win nothing; the table says why."
    if failed:
        yield f"{failed} of {len(cases)} cases broke a limit."
    if any(record.get("quick") for record in records):
        yield "A quick run: windows are short, so its figures show that everything works, and little more."
    few = [case for case in cases if case.row.replies is not None and case.row.replies < FEW_REPLIES]
    if few:
        yield f"{len(few)} of {len(cases)} cases have fewer than {FEW_REPLIES} replies: their p95 is coarse."
    warned = sum(any(each.get("telemetry", {}).get("warnings") for each in case.records) for case in cases)
    if warned:
        yield f"Something else was at work on the machine in {warned} of {len(cases)} cases: see Notes."
    if any(RANDOM_WEIGHTS in str(record.get("weights")) for record in records):
        yield "The weights are random: speed is that of the model, its answers mean nothing."


def _facts(runs: Sequence[SavedRun]) -> Iterator[tuple[str, str]]:
    """Yield what was measured where; a fact in which runs differ is told of each."""
    told: Mapping[str, Callable[[SavedRun], str]] = {
        "measured": lambda run: _readable(when(run)) or NOT_AVAILABLE,
        "model": lambda run: _of_records(run, "model"),
        "weights": lambda run: _of_records(run, "weights"),
        "device": lambda run: _with_reason(run, "device"),
        "launcher": lambda run: _with_reason(run, "launcher"),
        "window": _window,
        "machine": lambda run: _machine(_machine_facts(run)),
        "versions": lambda run: _versions(_machine_facts(run)),
    }
    if len(runs) > 1:
        names = [f"{letter}: {run.name}" for letter, run in zip(letters_of(runs), runs, strict=True)]
        yield "runs", "; ".join(names)
    for name, words in told.items():
        values = [words(run) for run in runs]
        if len(set(values)) == 1:
            yield name, values[0]
        else:
            pairs = zip(letters_of(runs), values, strict=True)
            yield name, "; ".join(f"{letter}: {value}" for letter, value in pairs)


def _readable(instants: str) -> str:
    """Return ``2026-11-23 11:27:04 UTC`` for what ISO 8601 has."""
    return re.sub(r"(\d)T(\d)", r"\1 \2", instants).replace("+00:00", " UTC")


def _of_records(run: SavedRun, name: str) -> str:
    return shown_over(name, [record.get(name) for record in run.records])


def _with_reason(run: SavedRun, name: str) -> str:
    plans: list[Mapping[str, Any]] = [facts.get("plan") or {} for facts in run.facts]
    reasons = dict.fromkeys(str(plan[f"{name}_reason"]) for plan in plans if plan.get(f"{name}_reason"))
    told = _of_records(run, name)
    return f"{told} ({'; '.join(reasons)})" if reasons else told


def _window(run: SavedRun) -> str:
    window, warm_up = (_from_to(run, name) for name in ("window_s", "warmup_s"))
    return f"{window} s after {warm_up} s of warm-up"


def _from_to(run: SavedRun, name: str) -> str:
    values = [round(float(each[name]), 1) for each in run.records if each.get(name) is not None]
    ends = dict.fromkeys((min(values), max(values))) if values else {}
    return " to ".join(f"{each:g}" for each in ends) or NOT_AVAILABLE


def _machine_facts(run: SavedRun) -> Mapping[str, Any]:
    return run.records[0].get("machine") or {}


def _counted(names: Sequence[str]) -> str:
    """Return ``2 x RTX 4090, RTX 3060``."""
    counts = Counter(names).items()
    return ", ".join(f"{count} x {name}" if count > 1 else name for name, count in counts)


def _machine(facts: Mapping[str, Any]) -> str:
    memory_bytes = facts.get("memory_bytes")
    words = (
        facts.get("cpu"),
        f"{facts['cores_usable']} cores" if facts.get("cores_usable") else None,
        f"{memory_bytes / 2**30:.0f} GiB" if memory_bytes else None,
        _counted(facts.get("gpus") or ()) or "no GPU",
        f"{facts.get('system', '')} {facts.get('kernel', '')}".strip(),
    )
    return ", ".join(str(word) for word in words if word)


def _versions(facts: Mapping[str, Any]) -> str:
    packages = [f"{name} {version}" for name, version in (facts.get("packages") or {}).items() if version]
    driver = [f"GPU driver {facts['gpu_driver']}"] if facts.get("gpu_driver") else []
    return ", ".join([*packages, str(facts.get("python") or ""), *driver]).strip(", ") or NOT_AVAILABLE
