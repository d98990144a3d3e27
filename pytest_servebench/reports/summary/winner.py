"""The first sentence of a summary: who won, in what, by how much; or why nobody did (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.reports.findings import Findings
from pytest_servebench.reports.findings.headline import answer, deciding_winners
from pytest_servebench.reports.row import Row

ONCE = "Measured once, so it may be chance"


def winner_sentence(findings: Findings, rows: Sequence[Row]) -> str:
    """Return what the page says first of one run, with figures, as plain text without a last full stop."""
    winners = deciding_winners(findings)
    once = any(not each.certain and each.interval is None for each in winners)
    return answer(winners, rows, figures=True).rstrip(".") + f". {ONCE}" * once
