"""The stages of staged loads, a table for each (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_servebench.reports.page.cases import PageCase
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.stages import BAD, COLUMNS, DOUBTFUL, LEFT_ALIGNED, stage_title


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTable:
    """The stages of one load."""

    anchor: str
    title: str
    heads: tuple[tuple[str, bool], ...]
    """Of each column its words, and whether it is of numbers."""
    rows: tuple[tuple[tuple[str, ...], bool], ...]
    """Of each stage its cells, and whether it went badly."""
    reasons: tuple[str, ...]


def stage_tables(cases: Sequence[PageCase]) -> tuple[StageTable, ...]:
    """Return a table for each record of a staged load."""
    staged = [(case, record) for case in cases for record in case.records if record.get("stages")]
    return tuple(
        StageTable(
            anchor=f"stages-{number}",
            title=f"{case.letter}: " * bool(case.letter) + stage_title(Row.from_record(record).label, record),
            heads=tuple(
                (each.header.replace("\n", " "), each.header not in LEFT_ALIGNED) for each in COLUMNS
            ),
            rows=tuple(
                (tuple(column.cell(stage) for column in COLUMNS), stage["verdict"] in BAD)
                for stage in record["stages"]
            ),
            reasons=tuple(
                stage["reason"]
                for stage in record["stages"]
                if stage["verdict"] in DOUBTFUL and stage["reason"]
            ),
        )
        for number, (case, record) in enumerate(staged, 1)
    )
