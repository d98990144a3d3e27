"""The first screen: what was measured, who won and why, and what a reader should beware of (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.comparison_words import when
from pytest_servebench.reports.findings.finding import Findings, Winner
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.page.cases import PageCase, letters_of
from pytest_servebench.reports.page.fields_shown import shown_over
from pytest_servebench.reports.rendering import NOT_AVAILABLE

DECIDING = ("p95", "throughput", "holds", "capacity")
"""Words in the names of figures that a stack is chosen by."""
FEW_REPLIES = 100
"""Of fewer the p95 is one of the five slowest."""
RANDOM_WEIGHTS = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class WinnerWords:
    """A winner, told."""

    figure: str
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
    answer: str
    """Who won, in a sentence or two."""
    certainty: str
    """How sure that is."""
    races: tuple[Race, ...]
    cautions: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def opening_of(runs: Sequence[SavedRun], cases: Sequence[PageCase], found: Sequence[Findings]) -> Opening:
    """Return the first screen; ``found`` are the findings of each run."""
    deciding = [winner for each in found for winner in deciding_winners(each)]
    one_run = len(runs) == 1
    return Opening(
        title=_title(cases),
        answer=answer(deciding, cases) if one_run else _of_runs(runs, cases, found),
        certainty=certainty(deciding),
        races=tuple(
            race
            for letter, each in zip(letters_of(runs), found, strict=True)
            for race in races_of(deciding_winners(each), letter)
        ),
        cautions=tuple(_cautions(cases)),
        facts=tuple(_facts(runs)),
    )


def deciding_winners(found: Findings) -> tuple[Winner, ...]:
    """Return the winners in figures that a stack is chosen by; all where none is."""
    deciding = tuple(each for each in found.winners if any(word in each.figure for word in DECIDING))
    return deciding or found.winners


def answer(winners: Sequence[Winner], cases: Sequence[PageCase]) -> str:
    """Return who won in a sentence, or why nobody did."""
    if not winners:
        return no_winner(cases)
    by_case: dict[str, dict[str, None]] = {}
    for each in winners:
        by_case.setdefault(each.case, {})[each.figure] = None
    if len(by_case) == 1:
        (case, figures), *_ = by_case.items()
        return f"{case} wins: {_and(list(figures))}."
    told = [f"{case} has the {_and(list(figures))}" for case, figures in by_case.items()]
    return f"No one wins everything: {'; '.join(told)}."


def no_winner(cases: Sequence[PageCase]) -> str:
    """Return why nobody won."""
    believed = sum(case.row.is_believed for case in cases)
    if len(cases) == 1:
        return "No winner: one case was measured, and there is nothing to compare it with."
    if not believed:
        return f"No winner: none of the {len(cases)} cases may be believed; the table says why."
    return (
        f"No winner: {believed} of {len(cases)} cases may be believed, and of those that were asked alike "
        "none is best beyond doubt."
    )


def certainty(winners: Sequence[Winner]) -> str:
    """Return how sure the order is."""
    if not winners:
        return ""
    if all(each.certain for each in winners):
        return "Repeats confirm it: the 95% intervals of the best and of all others are apart."
    if all(each.interval is None for each in winners):
        return (
            "Each case was measured once, and servers differ from start to start: close figures may change "
            "places. --serve-repeats=5 tells how sure the order is."
        )
    unsure = list(dict.fromkeys(each.figure for each in winners if not each.certain))
    return f"Not certain: in {_and(unsure)} the 95% intervals overlap, or are not known."


def races_of(winners: Sequence[Winner], run: str = "") -> Iterator[Race]:
    """Yield the winners by what was asked."""
    for asked in dict.fromkeys(each.asked for each in winners):
        alike = tuple(winner_words(each) for each in winners if each.asked == asked)
        yield Race(run=run, asked=asked, winners=alike)


def winner_words(winner: Winner) -> WinnerWords:
    """Return a winner with its figure, its lead, and how sure it is."""
    why = []
    if winner.margin is not None and winner.runner_up:
        why.append(f"{100 * winner.margin:.3g}% better than {winner.runner_up}")
    elif winner.runner_up:
        why.append(f"before {winner.runner_up}")
    if winner.interval is not None:
        low, high = (number(each, decimals([each])) for each in winner.interval)
        why.append(f"95% interval {low} to {high}" + ("" if winner.certain else ", which overlaps another's"))
    return WinnerWords(
        figure=winner.figure,
        case=winner.case,
        value=f"{number(winner.value, decimals([winner.value]))} {winner.unit}".strip(),
        why="; ".join(why),
    )


def _of_runs(runs: Sequence[SavedRun], cases: Sequence[PageCase], found: Sequence[Findings]) -> str:
    told = [
        f"{letter} ({run.name}): "
        + answer(deciding_winners(each), [case for case in cases if case.letter == letter])
        for letter, run, each in zip(letters_of(runs), runs, found, strict=True)
    ]
    return " ".join(told)


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
        "measured": lambda run: when(run) or NOT_AVAILABLE,
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


def _of_records(run: SavedRun, name: str) -> str:
    return shown_over(name, [record.get(name) for record in run.records])


def _with_reason(run: SavedRun, name: str) -> str:
    plans: list[Mapping[str, Any]] = [facts.get("plan") or {} for facts in run.facts]
    reasons = dict.fromkeys(str(plan[f"{name}_reason"]) for plan in plans if plan.get(f"{name}_reason"))
    told = _of_records(run, name)
    return f"{told} ({'; '.join(reasons)})" if reasons else told


def _window(run: SavedRun) -> str:
    def over(name: str) -> str:
        return shown_over(name, [_rounded(record, name) for record in run.records])

    return f"{over('window_s')} s after {over('warmup_s')} s of warm-up"


def _rounded(record: Record, name: str) -> float | None:
    value = record.get(name)
    return None if value is None else round(float(value), 1)


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
