"""Findings for the end of a terminal: the most useful, two to eight sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from pytest_servebench.reports.findings.finding import Answer, Claim, Findings
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.reports.rendering import rendered

STYLES = {Answer.CONFIRMED: "green", Answer.REFUTED: "yellow"}
MOST_OVERALL = 2
MOST_PRECISIONS = 2
"""All of them are in the report."""
NARROWEST = 20


def findings_lines(findings: Findings, *, width: int, colour: bool) -> list[str]:
    """Return the best configurations, precisions, and what became of each claim, a sentence each, wrapped.

    ``width`` in columns; ``colour`` False gives plain text. Empty where nothing could be compared; a claim
    that no case speaks of is left out, and those that cannot be answered share a sentence.
    """
    spoken = [claim for claim in findings.claims if claim.comparisons]
    open_ones = [claim for claim in spoken if claim.answer is Answer.NOT_MEASURABLE]
    told = [Text(sentence) for sentence in findings.overall[:MOST_OVERALL]]
    told += [Text(sentence) for sentence in findings.precisions[:MOST_PRECISIONS]]
    told += [_answered(claim) for claim in spoken if claim not in open_ones]
    told += [_open(open_ones)] if open_ones else []
    return [line for text in told for line in _wrapped(text, width, colour=colour)]


def _answered(claim: Claim) -> Text:
    """Return a claim with its answer, and the comparison that it rests on."""
    first, more = claim.comparisons[0], len(claim.comparisons) - 1
    figures = f": {first.cases}: {first.told}{f' (and {more} more)' if more else ''}"
    return Text.assemble((str(claim.answer), STYLES[claim.answer]), f": {claim.text}{figures}")


def _open(claims: Sequence[Claim]) -> Text:
    """Return the claims that cannot be answered, what was seen of them, and what would tell."""
    seen = [f"{claim.text} ({_seen(claim)})" for claim in claims]
    whys = dict.fromkeys(each.why for claim in claims for each in claim.comparisons if each.why)
    return Text(f"{Answer.NOT_MEASURABLE}: {'; '.join(seen)}; {'; '.join(whys)}")


def _seen(claim: Claim) -> str:
    """Return from which figure to which the comparisons of a claim go."""
    values = [each.value for each in claim.comparisons if each.value is not None]
    bounds = (
        list(dict.fromkeys(three_digits(value) for value in (min(values), max(values)))) if values else []
    )
    return f"seen: {' to '.join(bounds)} {claim.unit}" if bounds else "no figure"


def _wrapped(text: Text, width: int, *, colour: bool) -> list[str]:
    return rendered(text, width=max(NARROWEST, width), colour=colour, encoding="utf-8")
