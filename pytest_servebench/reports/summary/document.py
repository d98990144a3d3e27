"""``summary.json``: what a summary tells, for programs, as `schemas/summary-1.schema.json` has it (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pytest_servebench.comparison.conditions import conditions
from pytest_servebench.comparison.fingerprint import fingerprint
from pytest_servebench.comparison.replicates import Record
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.record import plain
from pytest_servebench.reports.findings import Findings
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.summary.cases import SummaryCase, cases_of, letter
from pytest_servebench.reports.summary.figures import FIGURES, best_of, told

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; a new field does not raise it."""
_CASE = ("benchmark", "stack", "model", "format", "precision", "payload", "protocol", "device")


def summary_json(runs: Sequence[SavedRun], findings: Sequence[Findings]) -> str:
    """Return strict JSON; ``findings`` are those of each run. What is missing is null, with a reason."""
    return json.dumps(summary(runs, findings), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def summary(runs: Sequence[SavedRun], findings: Sequence[Findings]) -> dict[str, Any]:
    """Return what ``summary.json`` holds, in plain types."""
    cases = cases_of(runs)
    of_run = {letter(number): each for number, each in enumerate(findings)}
    whole: dict[str, Any] = plain(
        {
            "schema": SCHEMA,
            "runs": [_run(letter(number), run) for number, run in enumerate(runs)],
            "cases": _cases(cases),
            "overall": [
                {"run": name, "text": text} for name, each in of_run.items() for text in each.overall
            ],
            "winners": [
                {"run": name, **asdict(one)} for name, each in of_run.items() for one in each.winners
            ],
            "trade_offs": [
                {"run": name, "text": text} for name, each in of_run.items() for text in each.trade_offs
            ],
            "precisions": [
                {"run": name, "text": text} for name, each in of_run.items() for text in each.precisions
            ],
            "claims": [{"run": name, **asdict(one)} for name, each in of_run.items() for one in each.claims],
            "bottlenecks": [
                {"run": name, "case": case, "text": text}
                for name, each in of_run.items()
                for case, text in each.bottlenecks
            ],
        }
    )
    return whole


def _run(name: str, run: SavedRun) -> dict[str, Any]:
    facts = run.facts
    return {
        "run": name,
        "name": run.name,
        "promoted": run.promoted,
        "run_ids": [str(fact["run_id"]) for fact in facts if fact.get("run_id")],
        "started": [str(fact["started"]) for fact in facts if fact.get("started")],
        "commits": [str(fact["commit"]["id"]) for fact in facts if (fact.get("commit") or {}).get("id")],
        "records": len(run.records),
        "machine": run.records[0]["machine"] if run.records else {},
        "gate": next((fact["gate"] for fact in facts if isinstance(fact.get("gate"), Mapping)), None),
    }


def _cases(cases: Sequence[SummaryCase]) -> list[dict[str, Any]]:
    found = []
    for run in dict.fromkeys(case.run for case in cases):
        own = [case for case in cases if case.run == run]
        best = best_of(own)
        found += [
            _case(case, [name for name, winners in best.items() if number in winners])
            for number, case in enumerate(own)
        ]
    return found


def _case(case: SummaryCase, best_in: Sequence[str]) -> dict[str, Any]:
    row = case.row
    return {
        "run": case.run,
        "case": case.name,
        **{name: getattr(row, name) for name in _CASE},
        "max_batch_size": row.max_batch_size,
        "items_per_request": row.items_per_request,
        "load": row.load,
        "repeats": {
            "asked": row.repeats,
            "measured": len(row.replicates) or 1,
            "valid": len(row.valid) if row.replicates else int(row.is_believed),
        },
        "validity": row.validity,
        "believed": row.is_believed,
        "reason": case.reason,
        "judgement": row.judgement,
        "breaches": [breach for one in row.replicates or (row,) for breach in one.breaches],
        "warnings": _warnings(row),
        "replies": row.replies,
        "limited_by": row.limited_by,
        "figures": {each.name: {"unit": each.unit, **asdict(told(each, case))} for each in FIGURES},
        "best_in": list(best_in),
        "conditions": _conditions(case.records),
    }


def _warnings(row: Row) -> list[str]:
    return list(dict.fromkeys(warning for one in row.replicates or (row,) for warning in one.warnings))


def _conditions(records: Sequence[Record]) -> dict[str, str]:
    """Return what the case was asked, loaded and measured with; where repeats differ, every value."""
    facts = [{**fingerprint(record), **conditions(record)} for record in records]
    names = dict.fromkeys(name for each in facts for name in each)
    return {name: " or ".join(dict.fromkeys(each[name] for each in facts if name in each)) for name in names}
