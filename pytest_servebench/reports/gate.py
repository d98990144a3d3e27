"""What the gate says at a session's end: values in, lines out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt, GateSettings, Severity
from pytest_servebench.comparison.fail_limits import limits_text
from pytest_servebench.comparison.sentences import sentence

_SEVERITIES = {
    Severity.AUTO: "fails, except noise",
    Severity.FAIL: "fails",
    Severity.WARN: "does not fail",
}
_COLOURS = {
    ChangeVerdict.REGRESSION: "red",
    ChangeVerdict.IMPROVEMENT: "green",
    ChangeVerdict.INCONCLUSIVE: "yellow",
}
"""What is told one by one, in this order; what passed is only counted."""
_OF_THE_CASE = (Doubt.MISSING, Doubt.DIFFERENT, Doubt.TOO_FEW, Doubt.INVALID)
"""Doubts that have the same reason for many figures and cases."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its colour: ``red``, ``green``, ``yellow``, or none."""

    text: str
    colour: str = ""


def gate_header(settings: GateSettings, baseline: str) -> list[str]:
    """Return the header's lines; ``baseline`` as `saved_runs.described` has it."""
    severity = settings.inconclusive
    doubtful = f"what is inconclusive {_SEVERITIES[severity]} ({severity})"
    allowed = f"; may differ: {', '.join(sorted(settings.allowed))}" if settings.allowed else ""
    return [
        f"servebench baseline: {baseline}",
        f"servebench limits: {limits_text(settings.limits)}; {doubtful}{allowed}",
    ]


def gate_lines(
    changes: Sequence[Change], failing: Sequence[Change], *, baseline: str, not_asked: int, warned: int = 0
) -> list[Line]:
    """Return a line for each change that did not pass, and the sum of all.

    ``failing`` are those of ``changes`` that make the exit code 1, ``not_asked`` the baseline's cases
    that this run was not asked for, ``warned`` the measurements with a warning. Changes that are
    inconclusive for one reason share a line.
    """
    lines = [
        Line(text, colour)
        for verdict, colour in _COLOURS.items()
        for text in _told([change for change in changes if change.verdict is verdict])
    ]
    lines.append(_sum(changes, failing, baseline))
    if warned and any(change.verdict is ChangeVerdict.REGRESSION for change in changes):
        measurements = _counted(warned, "measurement")
        lines.append(
            Line(f"servebench gate: {measurements} had warnings, above: was it the machine?", "yellow")
        )
    if not_asked:
        cases = f"{not_asked} case{'s' * (not_asked > 1)}"
        lines.append(Line(f"servebench gate: {cases} of the baseline {_were(not_asked)} not asked for"))
    return lines


def _told(changes: Iterable[Change]) -> Iterator[str]:
    groups: dict[object, list[Change]] = {}
    for change in changes:
        shared = (change.doubt, change.reason, change.remedy) if change.doubt in _OF_THE_CASE else id(change)
        groups.setdefault(shared, []).append(change)
    for group in groups.values():
        yield sentence(group[0]) if len(group) == 1 else _together(group)


def _together(changes: Sequence[Change]) -> str:
    """Return one line for changes that are inconclusive for one reason."""
    cases = list(dict.fromkeys(change.case for change in changes))
    figures = ", ".join(dict.fromkeys(change.figure for change in changes))
    more = f" and {len(cases) - _NAMED} more cases" if len(cases) > _NAMED else ""
    named = ", ".join(cases[:_NAMED])
    first = changes[0]
    remedy = f"; {first.remedy}" if first.remedy else ""
    return f"{first.verdict}: {named}{more}: {figures}: {first.reason}{remedy}"


def _sum(changes: Sequence[Change], failing: Sequence[Change], baseline: str) -> Line:
    counts = Counter(change.verdict for change in changes if change.limit is not None or change.doubt)
    doubts = counts[ChangeVerdict.INCONCLUSIVE]
    compared = _counted(sum(counts.values()), "figure")
    doubts_failing = sum(change.verdict is ChangeVerdict.INCONCLUSIVE for change in failing)
    split = f" ({doubts_failing} of them fail{'s' * (doubts_failing == 1)})" if doubts else ""
    text = (
        f"servebench gate: {_counted(counts[ChangeVerdict.REGRESSION], 'regression')}, "
        f"{_counted(counts[ChangeVerdict.IMPROVEMENT], 'improvement')}, {doubts} inconclusive{split}, "
        f"{counts[ChangeVerdict.PASS]} passed, of {compared} compared with {baseline}"
    )
    if failing:
        return Line(f"{text}: failed", "red")
    return Line(text, "yellow" if doubts else "green")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
