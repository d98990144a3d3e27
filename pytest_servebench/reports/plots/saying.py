"""What is to be seen in bars, in words, for whoever does not see them (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from pytest_servebench.reports.plots.bars import Measure
from pytest_servebench.reports.plots.look import figure
from pytest_servebench.reports.plots.shown import ShownCase

_MOST_GROUPS = 8


def described(cases: Sequence[ShownCase], measure: Measure, best: Callable[..., float] | None) -> str:
    """Return the best and the worst of each group, and what must not be believed.

    ``best`` is `min` or `max`; None where neither is better, and the range is told.
    """
    groups = [list(alike) for _, alike in groupby(cases, key=lambda case: case.group)]
    sentences = [_sentence(alike, measure, best) for alike in groups[:_MOST_GROUPS]]
    if len(groups) > _MOST_GROUPS:
        sentences.append(f"{len(groups) - _MOST_GROUPS} more groups are in the table.")
    return " ".join([*sentences, *_doubts(cases)])


def _sentence(cases: Sequence[ShownCase], measure: Measure, best: Callable[..., float] | None) -> str:
    found = {
        case.label: value for case in cases if not case.doubt and (value := measure.of(case.row)) is not None
    }
    asked = cases[0].asked
    if not found:
        return f"{asked}: no valid case has {measure.name}."
    ordered = sorted(found, key=lambda label: found[label], reverse=best is max)
    first, last = (f"{label} {figure(found[label], measure.unit)}" for label in (ordered[0], ordered[-1]))
    if len(found) == 1:
        return f"{asked}: {measure.name} of {first}."
    if best is None:
        return f"{asked}: {measure.name} from {first} to {last}."
    return f"{asked}: {measure.name} best {first}, worst {last}, of {len(found)} cases."


def _doubts(cases: Sequence[ShownCase]) -> Iterator[str]:
    doubtful = [f"{case.label} ({case.asked}: {case.doubt})" for case in cases if case.doubt]
    if doubtful:
        yield f"Not valid, drawn hollow: {'; '.join(doubtful[:_MOST_GROUPS])}" + (
            f"; and {len(doubtful) - _MOST_GROUPS} more." if len(doubtful) > _MOST_GROUPS else "."
        )
