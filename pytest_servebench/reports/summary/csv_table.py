"""``summary.csv``: a line for each case of each run (pure)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.summary.cases import SummaryCase, cases_of, letter
from pytest_servebench.reports.summary.figures import FIGURES, told

SCHEMA = 1
"""Raised when a column changes its meaning or goes away; a new column does not raise it."""
_TEXTS = ("benchmark", "stack", "model", "format", "precision", "payload", "protocol", "device")
_FIGURES = tuple(f"{each.name}{end}" for each in FIGURES for end in ("", "_low", "_high"))
COLUMNS = (
    *("schema", "run", "run_name", "case", *_TEXTS, "max_batch_size", "items_per_request", "load"),
    *("repeats", "valid_repeats", "validity", "believed", "reason", "judgement", "replies", "limited_by"),
    *_FIGURES,
)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 (the wide ones count, too)
_CONTROLS = ("\t", "\r", "\n")


def summary_csv(runs: Sequence[SavedRun]) -> str:
    """Return CSV as RFC 4180 has it; a value that is missing is empty, and no text is a formula."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    names = {letter(number): run.name for number, run in enumerate(runs)}
    for case in cases_of(runs):
        line = {**_asked(case), "run_name": names[case.run], **_found(case), **_figures(case)}
        writer.writerow({name: _safe(value) for name, value in line.items()})
    return stream.getvalue()


def _asked(case: SummaryCase) -> dict[str, Any]:
    row = case.row
    return {
        "schema": SCHEMA,
        "run": case.run,
        "case": case.name,
        **{name: getattr(row, name) for name in _TEXTS},
        "max_batch_size": row.max_batch_size,
        "items_per_request": row.items_per_request,
        "load": row.load,
    }


def _found(case: SummaryCase) -> dict[str, Any]:
    row = case.row
    return {
        "repeats": row.wanted,
        "valid_repeats": len(row.valid) if row.replicates else int(row.is_believed),
        "validity": row.validity,
        "believed": str(row.is_believed).lower(),
        "reason": case.reason,
        "judgement": row.judgement,
        "replies": row.replies,
        "limited_by": row.limited_by,
    }


def _figures(case: SummaryCase) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for figure in FIGURES:
        seen = told(figure, case)
        low, high = seen.interval or (None, None)
        found |= {figure.name: seen.value, f"{figure.name}_low": low, f"{figure.name}_high": high}
    return found


def _safe(value: str | float | None) -> str | float | None:
    """Return a text that no spreadsheet computes: one that begins as a formula gets an apostrophe before it.

    So OWASP advises. Quotes do not help: a spreadsheet takes them off first.
    """
    begins = isinstance(value, str) and (value.lstrip().startswith(_FORMULA) or value[:1] in _CONTROLS)
    return f"'{value}" if begins and value else value
