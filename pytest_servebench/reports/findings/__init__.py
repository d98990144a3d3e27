"""What a run has found, in words: winners, trade-offs, and claims that were tested (pure)."""

from __future__ import annotations

from pytest_servebench.reports.findings.finding import Answer, Claim, Comparison, Findings, Winner
from pytest_servebench.reports.findings.found import findings_of
from pytest_servebench.reports.findings.lines import findings_lines
from pytest_servebench.reports.findings.markdown import findings_markdown

__all__ = [
    "Answer",
    "Claim",
    "Comparison",
    "Findings",
    "Winner",
    "findings_lines",
    "findings_markdown",
    "findings_of",
]
