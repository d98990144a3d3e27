"""The stages of a load in its record, and in the table that a person reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.record import make_record
from pytest_servebench.reports.stages import COLUMNS, narrower
from pytest_servebench.reports.terminal import report_lines
from pytest_servebench.results import Validity
from pytest_servebench.samples import Outcome
from pytest_servebench.staged.judged import stage_results
from pytest_servebench.staged.outcomes import Scaling
from tests.made_up import MACHINE, SETTINGS, made_up_case, made_up_result
from tests.staged_loads import Serving, between, quick, served, staged_load

PLACES = tuple("12345")
SCALING = Scaling(
    capacity_per_s=285.714,
    in_flight=16,
    window_s=4.0,
    share=0.7,
    factor=0.4,
    arrivals="reference x 0.4",
)


def record(serve: Serving = quick, *, until_s: float | None = None, **changes: Any) -> dict[str, Any]:
    """Return the record of a staged load."""
    load = staged_load()
    stages = stage_results(served(load, serve, until_s=until_s), load)
    result = made_up_result(case=replace(made_up_case(), load=load), stages=stages, **changes)
    return {**make_record(result, plan=SETTINGS, machine=MACHINE), "benchmark": "test_profile"}


def shown(one: dict[str, Any], width: int = 160) -> list[str]:
    """Return the report on one record."""
    return report_lines([one], width=width, colour=False)


def test_a_record_has_every_stage_in_plain_types() -> None:
    """It survives JSON, with its objective as text."""
    one = record(between(40, 60, Outcome.TIMEOUT), scaling=SCALING)
    assert json.loads(json.dumps(one))["stages"] == one["stages"]
    assert one["load"]["objective"] == "p95<=50ms,errors<2%"
    hold = one["stages"][3]
    assert {name: hold[name] for name in ("number", "kind", "begin_per_s", "end_per_s", "ran_s")} == {
        "number": 4,
        "kind": "hold",
        "begin_per_s": 200.0,
        "end_per_s": 200.0,
        "ran_s": 20.0,
    }
    assert hold["counts"] == {
        "offered": 4000,
        "correct": 0,
        "wrong": 0,
        "errors": 0,
        "timeouts": 4000,
        "dropped": 0,
    }
    assert hold["response_time_ms"] == {"p50": None, "p95": None, "p99": None}
    assert hold["checks"]["status_share"] == hold["checks"]["on_time_share"] == 0.0
    assert hold["verdict"] == "fail"
    assert one["scaling"]["factor"] == 0.4


def test_a_load_without_stages_has_none() -> None:
    """An empty list, and no rates that were fitted."""
    one = make_record(made_up_result(), plan=SETTINGS, machine=MACHINE)
    assert (one["stages"], one["scaling"], one["load"]["objective"]) == ([], None, None)


def test_wrong_answers_have_no_times_in_any_stage() -> None:
    """A fast wrong answer is never published."""
    one = record(validity=Validity.WRONG_OUTPUT, reason="7 of 8 answers differ")
    assert {stage["response_time_ms"]["p95"] for stage in one["stages"]} == {None}
    assert {stage["checks"]["on_time_share"] for stage in one["stages"]} == {None}
    assert one["stages"][1]["counts"]["offered"] == 1000


def test_the_table_has_a_row_for_each_stage_below_the_benchmarks_own() -> None:
    """With the objective above it, and the word on each."""
    lines = shown(record(between(40, 60, 90.0), until_s=65.0, scaling=SCALING))
    title = next(line for line in lines if "by stage" in line)
    assert title.endswith(
        "by stage; holds must have p95<=50ms,errors<2%; rates x 0.4: 70% of 285.7/s, "
        "seen with 16 in flight just before"
    )
    rows = [line.split() for line in lines if line.startswith(PLACES)]
    assert [row[:2] for row in rows] == [
        ["1", "ramp"],
        ["2", "hold"],
        ["3", "ramp"],
        ["4", "hold"],
        ["5", "ramp"],
    ]
    assert rows[1][2:] == [
        "50",
        "20.0",
        "50.0",
        "50.0",
        "5.0",
        "5.0",
        "5.0",
        "0",
        "0",
        "100.0",
        "100.0",
        "n/a",
        "pass",
    ]
    assert rows[3][-1] == "fail"


def test_what_a_stage_is_doubted_for_stands_below_its_table() -> None:
    """A stage that was not reached says why; one that passed says nothing."""
    lines = shown(record(until_s=40.0))
    assert "stage 4 (hold at 200/s) was not run: the load ended before it" in lines
    assert not any(line.startswith("stage 2 (") for line in lines)


def test_a_narrow_terminal_keeps_stage_rate_p95_failures_and_verdict() -> None:
    """And every row fits."""
    lines = shown(record(), width=60)
    header, *rows = [line for line in lines if line.startswith(("stage ", *PLACES))]
    assert header.split() == ["stage", "1/s", "1/s", "ms", "failed", "dropped", "verdict"]
    assert len(rows) == 5
    assert all(len(row) <= 60 for row in rows)
    assert "not shown at 60 columns: ran s, achieved 1/s, p50 ms, p99 ms, status %, on time %, " in "\n".join(
        lines
    )


def test_columns_that_must_stay_stay() -> None:
    """The loop that narrows comes to an end."""
    columns = list(COLUMNS)
    while len(fewer := narrower(columns)) < len(columns):
        columns = fewer
    assert [column.header.partition("\n")[0] for column in columns] == [
        "stage",
        "rate",
        "p95",
        "failed",
        "verdict",
    ]


@pytest.mark.parametrize("name", ["p50", "p99"])
def test_a_percentile_that_lies_among_failures_is_not_available(name: str) -> None:
    """It is no number, and above all not the one of the requests that were lucky."""
    one = record(between(40, 60, Outcome.DROPPED))
    assert one["stages"][3]["response_time_ms"][name] is None
    row = next(line for line in shown(one) if line.startswith("4 hold"))
    assert row.split().count("n/a") == 4
