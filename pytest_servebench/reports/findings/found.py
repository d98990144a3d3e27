"""All findings of a run, from its records (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.bottleneck import bottleneck_of
from pytest_servebench.reports.findings.claims import claims_of
from pytest_servebench.reports.findings.finding import Findings
from pytest_servebench.reports.findings.measured import measured_cases
from pytest_servebench.reports.findings.precisions import precisions_of
from pytest_servebench.reports.findings.races import overall_of, winners_of
from pytest_servebench.reports.findings.trade_offs import trade_offs_of


def findings_of(records: Sequence[Record]) -> Findings:
    """Return what one run has found: winners, trade-offs, precisions, claims, and each case's bottleneck.

    Records cut down to what a gate compares (those of a baseline) tell too little, and are left out.
    """
    cases = measured_cases(records)
    return Findings(
        overall=overall_of(cases),
        winners=winners_of(cases),
        trade_offs=trade_offs_of(cases),
        precisions=precisions_of(cases),
        claims=claims_of(cases),
        bottlenecks=tuple((case.row.label, bottleneck_of(case.row.evidence).sentence) for case in cases),
    )
