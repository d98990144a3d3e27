"""A comparison for other programs: a row for each case, figure and run (pure)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from pytest_servebench.comparison.changes import Change
from pytest_servebench.comparison.replicates import replicates_of
from pytest_servebench.comparison.side_by_side import JUDGED, ComparedFigure, SideBySide
from pytest_servebench.reports.comparison_words import when

SCHEMA = 1
"""Raised when a column changes its meaning or goes away; a new column does not raise it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRow:
    """One figure of one case in one run; None where there is none, as of the baseline's change."""

    case: str
    figure: str
    unit: str
    """Of ``median``; empty for a share."""
    run: str
    """A is the baseline."""
    run_name: str
    median: float | None
    """Of the replicates."""
    replicates: int
    change_percent: float | None = None
    """Of the median, against the baseline's."""
    interval_low_percent: float | None = None
    """95% confidence interval of the change."""
    interval_high_percent: float | None = None
    limit_percent: float | None = None
    """By how much it may become worse."""
    p_value: float | None = None
    """One-sided, of the direction that is worse."""
    verdict: str | None = None
    """``regression``, ``improvement``, ``pass``, ``inconclusive``, or ``not_limited``."""
    doubt: str | None = None
    """``missing``, ``different``, ``invalid``, ``too_few`` or ``noise``."""
    reason: str | None = None
    remedy: str | None = None


_DECIMALS = 9
"""Of a percentage: no digits that are only the float's."""

COLUMNS = ("schema", *(each.name for each in fields(DataRow)))
"""Of the CSV."""


def data_rows(side: SideBySide) -> Iterator[DataRow]:
    """Yield the rows by case, then figure, then run."""
    counts = [{case: len(them) for case, them in replicates_of(run.records).items()} for run in side.runs]
    for row in side.rows:
        for number, (letter, run) in enumerate(zip(side.letters, side.runs, strict=True)):
            yield DataRow(
                case=row.case,
                figure=row.figure,
                unit=row.unit,
                run=letter,
                run_name=run.name,
                median=row.values[number],
                replicates=counts[number].get(row.case, 0),
                **_change(row, number),
            )


def comparison_csv(side: SideBySide) -> str:
    """Return CSV as RFC 4180 has it, but for line ends; a value that is missing is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in data_rows(side):
        writer.writerow({"schema": SCHEMA, **asdict(row)})
    return stream.getvalue()


def comparison_json(side: SideBySide) -> str:
    """Return strict JSON; a value that is missing is null."""
    content = {
        "schema": SCHEMA,
        "runs": [
            {
                "run": letter,
                "run_name": run.name,
                "is_baseline": number == 0,
                "started": when(run) or None,
                "files": [str(path) for path in run.paths],
                "records": len(run.records),
                "differences": list(side.differences(number)) if number else [],
            }
            for number, (letter, run) in enumerate(zip(side.letters, side.runs, strict=True))
        ],
        "verdicts": {str(verdict): side.verdicts[verdict] for verdict in JUDGED},
        "one_sided_cases": {
            case: list(side.holders(case)) for case in side.cases if case not in side.common_cases
        },
        "rows": [asdict(row) for row in data_rows(side)],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _change(row: ComparedFigure, number: int) -> dict[str, Any]:
    change = row.changes[number - 1] if number else None
    return {} if change is None else _told(change)


def _told(change: Change) -> dict[str, Any]:
    low, high = change.interval or (None, None)
    shares = {
        "change_percent": change.change,
        "interval_low_percent": low,
        "interval_high_percent": high,
        "limit_percent": change.limit,
    }
    return {
        **{name: None if share is None else round(100 * share, _DECIMALS) for name, share in shares.items()},
        "p_value": change.p_value,
        "verdict": str(change.verdict),
        "doubt": str(change.doubt) if change.doubt else None,
        "reason": change.reason or None,
        "remedy": change.remedy or None,
    }
