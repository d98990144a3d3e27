"""Who wins, in a sentence or two: the one wording that the page and the summaries share (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pytest_servebench.reports.findings.finding import Findings, Winner
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.reports.row import Row

DECIDING = ("p95", "throughput", "holds", "capacity")
"""Words in the names of figures that a stack is chosen by."""
_TWO_DIGITS = 0.1
_MOST_CASES, _MOST_PLACES = 3, 2
"""What is told one by one; more is counted."""
_SHORT = 30
"""Letters of a load that a headline has room for."""
_IN_FLIGHT = re.compile(r"\b(\d+) in flight")


def deciding_winners(found: Findings) -> tuple[Winner, ...]:
    """Return the winners in figures that a stack is chosen by; all where none is."""
    deciding = tuple(each for each in found.winners if any(word in each.figure for word in DECIDING))
    return deciding or found.winners


def answer(winners: Sequence[Winner], rows: Sequence[Row], *, figures: bool = False) -> str:
    """Return who is best in what, the case that is best most often first; or why nobody is.

    With ``figures`` each that was raced for once stands with its value and its lead, for where no others do.
    """
    if not winners:
        return no_winner(rows)
    if all(each.is_level for each in winners):
        return "No winner: the best cases have the same figures."
    winners = [each for each in winners if not each.is_level]
    by_case: dict[str, list[Winner]] = {}
    for each in winners:
        by_case.setdefault(each.case, []).append(each)
    short = told_apart([each.asked for each in winners])
    ranked = sorted(by_case.items(), key=lambda item: -len(item[1]))
    told = [f"{case}: {_figures(won, winners, short, told=figures)}" for case, won in ranked[:_MOST_CASES]]
    told[0] = told[0].replace(": ", f" {_verb(winners)}: ", 1)
    doubt = "No clear winner. " * all(each.interval is not None and not each.certain for each in winners)
    return f"{doubt}{'. '.join(told)}."


def _verb(winners: Sequence[Winner]) -> str:
    return "wins" if all(each.certain for each in winners) else "is ahead"


def _figures(
    won: Sequence[Winner], all_winners: Sequence[Winner], short: Mapping[str, str], *, told: bool
) -> str:
    """Return in what a case is best, and where that is not so everywhere, under which load."""
    words = []
    for figure in dict.fromkeys(each.figure for each in won):
        own = [each for each in won if each.figure == figure]
        where = [short[each.asked] for each in own]
        raced = sum(each.figure == figure for each in all_winners)
        if len(where) == raced:
            words.append(figure + (_lead(own[0]) if told and raced == 1 else ""))
        elif len(where) <= _MOST_PLACES and max(map(len, where)) <= _SHORT:
            words.append(f"{figure} with {listed(where)}")
        else:
            words.append(f"{figure} in {len(where)} of {raced} comparisons")
    return listed(words)


def _lead(winner: Winner) -> str:
    value = f" ({value_of(winner)}"
    better = winner.margin is not None and winner.runner_up
    return (
        f"{value}, {percent(winner.margin or 0)} better than {winner.runner_up})" if better else f"{value})"
    )


def value_of(winner: Winner) -> str:
    """Return a winner's figure with its unit."""
    return f"{number(winner.value, decimals([winner.value]))} {winner.unit}".strip()


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


def no_winner(rows: Sequence[Row]) -> str:
    """Return why nobody won."""
    believed = sum(row.is_believed for row in rows)
    if len(rows) == 1:
        return "No winner: only one case was measured."
    if not believed:
        return f"No winner: none of the {len(rows)} cases may be believed; the table says why."
    return (
        f"No winner: {believed} of {len(rows)} cases may be believed, and no two of those were asked alike."
    )


def percent(share: float) -> str:
    """Return a share in percent, small ones with a decimal place."""
    return f"{100 * share:.{0 if share >= _TWO_DIGITS else 1}f}%"


def listed(words: Sequence[str]) -> str:
    """Return words with commas between, and an ``and`` before the last."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else NOT_AVAILABLE
