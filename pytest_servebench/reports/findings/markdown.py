"""Findings as Markdown, for ``summary.md``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_servebench.reports.comparison_markdown import escaped
from pytest_servebench.reports.findings.finding import Claim, Findings, Winner
from pytest_servebench.reports.numbers import three_digits
from pytest_servebench.reports.rendering import NOT_AVAILABLE


def findings_markdown(findings: Findings) -> str:
    """Return the section ``Findings`` with a heading of the second level; what was not found is said."""
    parts = [
        "## Findings",
        _list(findings.overall),
        "### Winners",
        _winners(findings.winners),
        "### Trade-offs",
        _list(findings.trade_offs) or "No difference was both large and certain enough for a sentence.",
        *(("### Precisions", _list(findings.precisions)) if findings.precisions else ()),
        "### Claims of the reference",
        _claims(findings.claims),
        "### What limits each case",
        _list([f"{case}: {sentence}" for case, sentence in findings.bottlenecks]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)


def _winners(winners: Sequence[Winner]) -> str:
    if not winners:
        return "None: no two cases that were asked alike may be believed."
    lines = []
    for asked in dict.fromkeys(winner.asked for winner in winners):
        rows = [_winner(winner) for winner in winners if winner.asked == asked]
        header = ["| | winner | 95% interval | runner-up | by | |", "|---|---|---|---|---|---|"]
        lines.append("\n".join([f"{escaped(asked)}:", "", *header, *rows]))
    return "\n\n".join(lines)


def _winner(winner: Winner) -> str:
    by = NOT_AVAILABLE if winner.margin is None else f"{winner.margin:.0%}"
    cells = [
        winner.figure,
        f"{winner.case}: {three_digits(winner.value)} {winner.unit}".strip(),
        NOT_AVAILABLE if winner.interval is None else " to ".join(map(three_digits, winner.interval)),
        winner.runner_up,
        by,
        certainty(winner),
    ]
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"


def certainty(winner: Winner) -> str:
    """Return how sure it is that a winner is one."""
    if winner.certain:
        return "certain"
    if winner.tied:
        return f"tied with {', '.join(winner.tied)}"
    return "not certain: not repeated"


def _claims(claims: Sequence[Claim]) -> str:
    header = "| claim | answer | figures |\n|---|---|---|"
    rows = [f"| {escaped(c.text)} | **{c.answer}** | {'<br>'.join(_figures(c))} |" for c in claims]
    return "\n".join([header, *rows])


def _figures(claim: Claim) -> Iterator[str]:
    if not claim.comparisons:
        yield escaped(claim.reason)
    for each in claim.comparisons:
        yield escaped(f"{each.cases}: {each.told}: {each.answer}")
    for why in dict.fromkeys(each.why for each in claim.comparisons if each.why):
        yield escaped(f"Not measurable: {why}")
