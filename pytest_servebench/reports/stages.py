"""The stages of a load as a table: a row for each, from plain records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pytest_servebench.reports.numbers import number
from pytest_servebench.reports.rendering import NOT_AVAILABLE

Stage = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageColumn:
    """One column of the table."""

    header: str
    cell: Callable[[Stage], str]
    sacrifice: int = 0
    """Columns with higher numbers go first when the terminal is narrow; 0 stays."""


def _percent(share: float | None) -> str:
    return number(None if share is None else 100 * share)


def _rates(stage: Stage) -> str:
    begin, end = stage["begin_per_s"], stage["end_per_s"]
    return f"{end:g}" if begin == end else f"{begin:g} to {end:g}"


def _failed(stage: Stage) -> str:
    counts = [stage["counts"][name] for name in ("errors", "timeouts", "wrong")]
    return NOT_AVAILABLE if None in counts else str(sum(counts))


def _predictions(stage: Stage) -> str:
    compared, wrong = stage["checks"]["predictions_compared"], stage["checks"]["predictions_wrong"]
    return f"{compared - wrong} of {compared}" if compared and wrong is not None else NOT_AVAILABLE


def _time(name: str) -> Callable[[Stage], str]:
    return lambda stage: number(stage["response_time_ms"][name])


COLUMNS = (
    StageColumn(header="stage", cell=lambda stage: f"{stage['number']} {stage['kind']}"),
    StageColumn(header="rate\n1/s", cell=_rates),
    StageColumn(header="ran\ns", cell=lambda stage: number(stage["ran_s"]), sacrifice=6),
    StageColumn(header="offered\n1/s", cell=lambda stage: number(stage["offered_per_s"]), sacrifice=1),
    StageColumn(header="achieved\n1/s", cell=lambda stage: number(stage["achieved_per_s"]), sacrifice=2),
    StageColumn(header="p50\nms", cell=_time("p50"), sacrifice=5),
    StageColumn(header="p95\nms", cell=_time("p95")),
    StageColumn(header="p99\nms", cell=_time("p99"), sacrifice=7),
    StageColumn(header="failed", cell=_failed),
    StageColumn(header="dropped", cell=lambda stage: number(stage["counts"]["dropped"], 0), sacrifice=1),
    StageColumn(
        header="status\n%", cell=lambda stage: _percent(stage["checks"]["status_share"]), sacrifice=4
    ),
    StageColumn(
        header="on time\n%", cell=lambda stage: _percent(stage["checks"]["on_time_share"]), sacrifice=4
    ),
    StageColumn(header="answers\nright", cell=_predictions, sacrifice=3),
    StageColumn(header="verdict", cell=lambda stage: stage["verdict"]),
)
LEFT_ALIGNED = ("stage", "verdict")
BAD = ("fail", "undecided", "not run")
DOUBTFUL = ("undecided", "not run")
"""Verdicts whose reason is told below the table; that of a failure is a breach of the case."""


def stage_title(label: str, record: Mapping[str, Any]) -> str:
    """Return what stands above a case's stages: the case, its objective, and how its rates came about."""
    objective, scaling = record["load"].get("objective"), record.get("scaling")
    parts = [f"{label}, by stage"]
    if objective:
        parts.append(f"holds must have {objective}")
    if scaling:
        parts.append(
            f"rates x {scaling['factor']:g}: {scaling['share']:.0%} of {scaling['capacity_per_s']:.4g}/s, "
            f"seen with {scaling['in_flight']} in flight just before"
        )
    return "; ".join(parts)


def stage_table(stages: Sequence[Stage], columns: Sequence[StageColumn] = COLUMNS) -> Table:
    """Return the table of one case's stages."""
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", collapse_padding=True
    )
    for column in columns:
        left = column.header in LEFT_ALIGNED
        table.add_column(column.header, justify="left" if left else "right", no_wrap=True, vertical="bottom")
    for stage in stages:
        bad = stage["verdict"] in BAD
        cells = [column.cell(stage) for column in columns]
        table.add_row(*cells[:-1], Text(cells[-1], style="bold red" if bad else ""))
    return table


def narrower(columns: Sequence[StageColumn]) -> list[StageColumn]:
    """Return the columns without the least important one; all of them when none can go."""
    least = max(columns, key=lambda column: column.sacrifice)
    return [column for column in columns if column is not least or not least.sacrifice]
