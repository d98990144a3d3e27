"""The first screen: what was measured, who won and why, and what a reader should beware of (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.comparison_words import when
from pytest_servebench.reports.findings.finding import Findings, Winner
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.page.cases import PageCase, letters_of
from pytest_servebench.reports.page.fields_shown import shown_over
from pytest_servebench.reports.page.meanings import FIGURE_MEANINGS
from pytest_servebench.reports.rendering import NOT_AVAILABLE

DECIDING = ("p95", "throughput", "holds", "capacity")
"""Words in the names of figures that a stack is chosen by."""
FEW_REPLIES = 100
"""Of fewer the p95 is one of the five slowest."""
RANDOM_WEIGHTS = "random"
_TWO_DIGITS = 0.1
_MOST_CASES, _MOST_PLACES, _MOST_RACES = 3, 2, 3
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
    certainty: str
    """How sure that is."""
    races: tuple[Race, ...]
    more_races: int
    """How many more there are under the findings."""
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
    return Opening(
        title=_title(cases),
        answers=(answer(deciding, cases),) if one_run else tuple(_of_runs(runs, cases, found)),
        certainty=certainty(deciding),
        races=races[:_MOST_RACES],
        more_races=len(races[_MOST_RACES:]),
        cautions=tuple(_cautions(cases)),
        facts=tuple(_facts(runs)),
    )


def deciding_winners(found: Findings) -> tuple[Winner, ...]:
    """Return the winners in figures that a stack is chosen by; all where none is."""
    deciding = tuple(each for each in found.winners if any(word in each.figure for word in DECIDING))
    return deciding or found.winners


def answer(winners: Sequence[Winner], cases: Sequence[PageCase]) -> str:
    """Return who is best in what, the case that is best most often first; or why nobody is."""
    if not winners:
        return no_winner(cases)
    if all(each.is_level for each in winners):
        return "No winner: the best cases have the same figures."
    winners = [each for each in winners if not each.is_level]
    by_case: dict[str, list[Winner]] = {}
    for each in winners:
        by_case.setdefault(each.case, []).append(each)
    short = told_apart([each.asked for each in winners])
    ranked = sorted(by_case.items(), key=lambda item: -len(item[1]))
    told = [f"{case}: {_figures(won, winners, short)}" for case, won in ranked[:_MOST_CASES]]
    told[0] = told[0].replace(": ", f" {_verb(winners)}: ", 1)
    doubt = "No clear winner. " * all(each.interval is not None and not each.certain for each in winners)
    return f"{doubt}{'. '.join(told)}."


def _verb(winners: Sequence[Winner]) -> str:
    return "wins" if all(each.certain for each in winners) else "is ahead"


def _figures(won: Sequence[Winner], all_winners: Sequence[Winner], short: Mapping[str, str]) -> str:
    """Return in what a case is best, and where that is not so everywhere, under which load."""
    told = []
    for figure in dict.fromkeys(each.figure for each in won):
        where = [short[each.asked] for each in won if each.figure == figure]
        raced = sum(each.figure == figure for each in all_winners)
        if len(where) == raced:
            told.append(figure)
        elif len(where) <= _MOST_PLACES:
            told.append(f"{figure} with {_and(where)}")
        else:
            told.append(f"{figure} in {len(where)} of {raced} comparisons")
    return _and(told)


def told_apart(asked: Sequence[str]) -> dict[str, str]:
    """Return what was asked, without the words that all of them share."""
    parts = {each: re.split(r"(?:, |: )", each) for each in asked}
    shared = set.intersection(*map(set, parts.values())) if len(parts) > 1 else set()
    # The name of a test says less than what it asks.
    return {
        each: _IN_FLIGHT.sub(
            lambda found: f"{found[1]} request{'s' * (found[1] != '1')} in flight",
            ", ".join(own[1:] if len(own) > 1 and own[0] == words[0] else own) or each,
        )
        for each, words in parts.items()
        for own in [[word for word in words if word not in shared]]
    }


def no_winner(cases: Sequence[PageCase]) -> str:
    """Return why nobody won."""
    believed = sum(case.row.is_believed for case in cases)
    if len(cases) == 1:
        return "No winner: one case was measured, and there is nothing to compare it with."
    if not believed:
        return f"No winner: none of the {len(cases)} cases may be believed; the table says why."
    return (
        f"No winner: {believed} of {len(cases)} cases may be believed, and no two of those were asked alike."
    )


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
        f"How sure is that? Not beyond doubt: in {_and(unsure)} another's 95% interval over server starts "
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
        why.append(f"{_percent(winner.margin)} better than {winner.runner_up}")
    elif winner.runner_up:
        why.append(f"before {winner.runner_up}")
    if winner.interval is not None:
        low, high = (number(each, decimals([each])) for each in winner.interval)
        why.append(f"95% interval {low} to {high}" + ("" if winner.certain else ", which overlaps another's"))
    return WinnerWords(
        figure=winner.figure,
        meaning=next((text for word, text in FIGURE_MEANINGS.items() if word in winner.figure), ""),
        case=winner.level if winner.is_level else winner.case,
        value=f"{number(winner.value, decimals([winner.value]))} {winner.unit}".strip(),
        why="; ".join(why),
    )


_IN_FLIGHT = re.compile(r"\b(\d+) in flight")


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= _TWO_DIGITS else 1}f}%"


def _of_runs(runs: Sequence[SavedRun], cases: Sequence[PageCase], found: Sequence[Findings]) -> Iterator[str]:
    for letter, run, each in zip(letters_of(runs), runs, found, strict=True):
        own = [case for case in cases if case.letter == letter]
        yield f"{letter} ({run.name}): {answer(deciding_winners(each), own)}"


def _title(cases: Sequence[PageCase]) -> str:
    models = _and(list(dict.fromkeys(case.row.model for case in cases)))
    stacks = _and(list(dict.fromkeys(case.row.stack for case in cases)))
    devices = _and(list(dict.fromkeys(case.row.device for case in cases)))
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


def _machine(facts: Mapping[str, Any]) -> str:
    memory_bytes = facts.get("memory_bytes")
    words = (
        facts.get("cpu"),
        f"{facts['cores_usable']} cores" if facts.get("cores_usable") else None,
        f"{memory_bytes / 2**30:.0f} GiB" if memory_bytes else None,
        ", ".join(facts.get("gpus") or ()) or "no GPU",
        f"{facts.get('system', '')} {facts.get('kernel', '')}".strip(),
    )
    return ", ".join(str(word) for word in words if word)


def _versions(facts: Mapping[str, Any]) -> str:
    packages = [f"{name} {version}" for name, version in (facts.get("packages") or {}).items() if version]
    driver = [f"GPU driver {facts['gpu_driver']}"] if facts.get("gpu_driver") else []
    return ", ".join([*packages, str(facts.get("python") or ""), *driver]).strip(", ") or NOT_AVAILABLE


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else NOT_AVAILABLE
