"""One line for each change: what it was, what it is, how surely, and what is to be done (pure)."""

from __future__ import annotations

from pytest_servebench.comparison.changes import Change, ChangeVerdict
from pytest_servebench.comparison.figures import FIGURES

_MOST_DIGITS = 6
_WHOLE = 1000
"""From here on a number is told without decimals."""


def sentence(change: Change) -> str:
    """Return ``regression: CASE: p95 41.2 -> 47.9 ms, +16.3% [+12.1%, +19.8%], limit +5%, ...``, one line."""
    facts = [f"{change.figure} {_values(change)}", *_change(change), *_evidence(change)]
    words = [str(change.verdict).replace("_", " "), change.case, ", ".join(facts)]
    if change.reason:
        words.append(change.reason)
    line = ": ".join(words)
    return f"{line}; {change.remedy}" if change.remedy else line


def _values(change: Change) -> str:
    unit = f" {change.unit}" if change.unit else ""
    if change.baseline is None or change.now is None:
        both = " -> ".join("n/a" if one is None else _number(one, 3) for one in (change.baseline, change.now))
        return both + unit
    for digits in range(3, _MOST_DIGITS + 1):
        texts = [_number(one, digits) for one in (change.baseline, change.now)]
        if texts[0] != texts[1]:
            break
    else:
        texts = [_number(one, 3) for one in (change.baseline, change.now)]
    return " -> ".join(texts) + unit


def _number(value: float, digits: int) -> str:
    """Return a number with so many digits that count, and never a power of ten that is not needed."""
    return f"{value:.{max(0, digits - 4)}f}" if round(abs(value)) >= _WHOLE else f"{value:.{digits}g}"


def _change(change: Change) -> list[str]:
    if change.change is None:
        return []
    interval = f" [{percent(change.interval[0])}, {percent(change.interval[1])}]" if change.interval else ""
    return [percent(change.change) + interval]


def _evidence(change: Change) -> list[str]:
    before, now = change.replicates
    found = []
    if change.limit is not None:
        worse = -1 if FIGURES[change.figure].higher_is_better else 1
        found.append(f"limit {100 * worse * change.limit:+g}%")
    found.append(f"{before} v {now} repeats")
    # It is of a change for the worse: 1 beside what improved would read as doubt.
    judged = change.verdict not in {ChangeVerdict.NOT_LIMITED, ChangeVerdict.IMPROVEMENT}
    if judged and change.p_value is not None and f"p of {_p(change.p_value)} " not in change.reason:
        found.append(f"p {_p(change.p_value)}")
    return found


def percent(share: float) -> str:
    """Return ``+16.3%`` for 0.163: a sign, and at most one decimal."""
    text = f"{100 * share:+.1f}".removesuffix(".0")
    return "0%" if text in ("+0", "-0") else f"{text}%"


def _p(p_value: float) -> str:
    return f"{p_value:.2g}" if p_value >= 0.0001 else "below 0.0001"  # noqa: PLR2004 (as it says)
