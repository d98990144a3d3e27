"""The table: what a person reads, at any width."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.arrivals import Poisson, Stage, Staged
from pytest_servebench.capacity import Trial
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.record import make_record
from pytest_servebench.reports.numbers import decimals
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.terminal import in_groups, report_lines, result_table
from pytest_servebench.results import CaseResult, Judgement, Summary, Telemetry, Validity, Verdict
from pytest_servebench.statistics.early_stopping import Finding
from tests.made_up import (
    BREACH,
    MACHINE,
    SETTINGS,
    made_up_capacity,
    made_up_case,
    made_up_result,
    wrong_result,
)

FAST, SLOW = [4.0, 5.0, 6.0, 9.0] * 100, [8.0, 10.0, 12.0, 18.0] * 50


def record_of(
    result: CaseResult, verdict: Verdict | None = None, benchmark: str = "test_speed"
) -> dict[str, Any]:
    """Return a record as the recorder leaves it."""
    return {
        **make_record(result, plan=SETTINGS, machine=MACHINE, verdict=verdict),
        "benchmark": benchmark,
        "test": f"test_it.py::{benchmark}[{result.case.id}]",
    }


def two_stacks(**changes: Any) -> list[dict[str, Any]]:
    """Return the records of a fast and a slow stack, asked alike."""
    return [
        record_of(made_up_result(FAST, case=made_up_case("triton"), **changes)),
        record_of(made_up_result(SLOW, case=made_up_case("fastapi"), **changes)),
    ]


def shown(records: list[dict[str, Any]], width: int = 200, **changes: Any) -> str:
    """Return the report as one text."""
    return "\n".join(report_lines(records, **{"width": width, "colour": False, **changes}))


def line_of(text: str, stack: str) -> list[str]:
    """Return the words of a stack's first line in the table."""
    return next(line.split() for line in text.splitlines() if line.startswith(stack))


def test_table_has_the_reference_figures_with_units() -> None:
    """Each figure of the reference is a column, its unit in the header, its value in the row."""
    text = shown(two_stacks())
    head = text[: text.index("triton")]
    for word in (
        "stack",
        "format",
        "batch",
        "p50",
        "p95",
        "p99",
        "images/s",
        "cores",
        "GB",
        "seen",
        "verdict",
    ):
        assert word in head
    assert re.search(r"max +p50 +p95 +p99 +CPU +memory +images/s +batch +cold +limited\n", head)
    assert re.search(
        r"batch +replies +ms +ms +ms +images/s +cores +GB +per GB +seen +start s +by +verdict\n", head
    )
    figures = "8 400 *5.50 *9.00 9.00 *200 1.50 1.20 *166.7 3.50 3.25"
    assert line_of(text, "triton") == ["triton", "onnx", *figures.split(), "not", "known", "valid"]


def test_title_says_what_all_rows_share() -> None:
    """What is equal in all rows is said once, above, and is no column."""
    text = shown(two_stacks())
    assert "test_speed: resnet50, tensor over http, 1 per request, 16 in flight, on cpu" in text
    varied = [*two_stacks(), record_of(made_up_result(case=made_up_case(batch=1)))]
    assert "test_speed: resnet50, tensor over http, 1 per request, on cpu" in shown(varied)
    assert "flight" in shown(varied).split("stack")[1]


def test_missing_values_are_not_available_and_never_zero() -> None:
    """A figure nobody reported is n/a."""
    text = shown(two_stacks(telemetry=Telemetry(), cold_start_s=None))
    words = line_of(text, "triton")
    assert words[8:13] == ["n/a"] * 5
    assert "0.00" not in text


def test_unpublishable_case_shows_no_speed() -> None:
    """A wrong case shows its verdict and no number that could be taken for a result."""
    text = shown([*two_stacks(), record_of(wrong_result(made_up_case("torchserve")))])
    assert line_of(text, "torchserve")[3:8] == ["n/a", "n/a", "n/a", "n/a", "n/a"]
    assert line_of(text, "torchserve")[-1] == "wrong_output"
    assert "wrong_output: test_speed torchserve onnx, batch 8" in text
    assert "7 of 8 answers differ from the reference" in text


def test_winners_are_marked_in_their_group_only() -> None:
    """A case wins among cases with the same batch, items and load, not among all."""
    small = [
        record_of(made_up_result([1.0] * 40, case=made_up_case("triton", batch=1))),
        record_of(made_up_result([2.0] * 20, case=made_up_case("fastapi", batch=1))),
    ]
    marked = [
        line.split()[0] for line in shown([*two_stacks(), *small]).splitlines() if re.search(r"\*\d", line)
    ]
    assert marked == ["triton", "triton"]


def test_nobody_wins_alone_and_doubtful_runs_do_not_race() -> None:
    """A single case is no winner, and an unstable one beats nobody."""
    alone = shown(two_stacks()[:1])
    assert not re.search(r"\*\d", alone)
    doubtful = two_stacks()
    doubtful[0] = record_of(
        made_up_result(FAST, case=made_up_case("triton"), validity=Validity.UNSTABLE, reason="p95 drifts")
    )
    text = shown(doubtful)
    assert not re.search(r"\*\d", text)
    assert line_of(text, "triton")[-1] == "unstable"
    assert "unstable: test_speed triton onnx, batch 8, 1 per request, 16 in flight: p95 drifts" in text


def test_equal_values_share_the_win() -> None:
    """Two equal best values are both marked."""
    records = [record_of(made_up_result(FAST, case=made_up_case(stack))) for stack in ("triton", "fastapi")]
    assert shown(records).count("*5.50") == 2


def test_breaches_are_listed_one_line_each() -> None:
    """Below the table each breach says its case and its sentence."""
    text = shown([record_of(made_up_result(), BREACH)])
    assert (
        "breach: test_speed triton onnx, batch 8, 1 per request, 16 in flight: "
        "p95 8.55 ms exceeds its limit 8 ms by 6.9 %"
    ) in text.splitlines()
    assert line_of(text, "triton")[-2:] == ["valid,", "fail"]


def test_ungated_cases_share_one_line() -> None:
    """Cases without limits are reported, once for each reason."""
    ungated = Verdict(judgement=Judgement.UNGATED, reason="no limits for this hardware")
    cases = made_up_case("triton"), made_up_case("fastapi")
    text = shown([record_of(made_up_result(case=case), ungated) for case in cases])
    assert text.count("ungated: 2 of 2 cases: no limits for this hardware") == 1
    assert line_of(text, "triton")[-2:] == ["valid,", "ungated"]


def test_each_benchmark_has_its_table() -> None:
    """Latency and throughput are not mixed in one table."""
    text = shown([*two_stacks(), record_of(made_up_result(), benchmark="test_latency")])
    assert text.count("verdict") == 2
    assert text.index("test_speed:") < text.index("test_latency:")


def test_gpu_use_replaces_cpu_use_where_a_gpu_was_read() -> None:
    """With a GPU the use column is the GPU's."""
    telemetry = Telemetry(gpu_utilization_percent=89.0, gpu_memory_bytes=1_800_000_000, server_cpu_cores=0.5)
    text = shown(two_stacks(telemetry=telemetry))
    assert "GPU" in text
    assert "CPU" not in text
    assert line_of(text, "triton")[8:10] == ["89.0", "1.80"]


def test_power_and_energy_have_columns_where_a_gpu_told_them() -> None:
    """Energy is a race that the lower one wins; on a machine that tells none there is no column."""
    assert "mJ per" not in shown(two_stacks())
    gpu: dict[str, Any] = {"gpu_utilization_percent": 89.0, "gpu_power_w": 310.0}
    records = [
        record_of(
            made_up_result(case=made_up_case(stack), telemetry=Telemetry(**gpu, joules_per_image=joules))
        )
        for stack, joules in (("triton", 0.06), ("fastapi", 0.11))
    ]
    text = shown(records)
    assert "*60.0" in line_of(text, "triton")
    assert {"310", "110.0"} <= set(line_of(text, "fastapi"))


def test_warnings_stand_under_the_table() -> None:
    """What disturbed a run is said in words; it stays valid."""
    records = two_stacks(telemetry=Telemetry(warnings=("the GPU is shared with 2 other processes",)))
    text = shown(records)
    assert line_of(text, "triton")[-1] == "valid"
    warned = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert warned == ["warning: 2 of 2 measurements: the GPU is shared with 2 other processes"]


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 160])
def test_table_fits_by_leaving_columns_out(width: int) -> None:
    """No line of the table is wider than the terminal, and what was left out is said."""
    lines = report_lines(two_stacks(), width=width, colour=False)
    table = lines[2 : next(at for at, line in enumerate(lines) if line.startswith("fastapi")) + 1]
    assert max(map(len, table)) <= width
    for word in ("stack", "format", "p95", "images/s"):
        assert word in "\n".join(table)
    assert any(line.startswith(f"not shown at {width} columns: ") for line in lines) == (width < 160)


@pytest.mark.parametrize("colour", [True, False])
def test_only_signs_that_are_there_are_explained(colour: bool) -> None:
    """A table of one row has no winner, one without gaps no n/a, a narrow one no memory."""
    both, one = two_stacks(), two_stacks(cold_start_s=None)[:1]
    assert "* best of" in shown(both, colour=colour)
    assert "* best of" not in shown(one, colour=colour)
    assert "n/a: not reported" in shown(one, colour=colour)
    assert "n/a: not reported" not in shown(both, colour=colour, width=50)
    assert "memory: of the GPU" in shown(both, colour=colour)
    assert "memory: of the GPU" not in shown(both, colour=colour, width=50)


def test_least_important_columns_go_first() -> None:
    """Cold start goes before p99, p99 before memory, and the verdict goes last."""
    for width, gone, kept in ((100, "cold", "p99"), (80, "p99", "memory"), (60, "CPU", "verdict")):
        text = shown(two_stacks(), width=width)
        table, left_out = text.split("not shown")
        assert gone not in table
        assert gone in left_out
        assert kept in table


def test_terminal_too_narrow_for_the_least_is_not_cut() -> None:
    """Below the least width the terminal wraps whole values; nothing is replaced by dots."""
    assert "*9.00" in shown(two_stacks(), width=10)


def test_plain_text_has_no_escapes_and_colour_has() -> None:
    """NO_COLOR and pipes get plain text; a colour terminal gets the same words."""
    plain, coloured = shown(two_stacks()), shown(two_stacks(), colour=True)
    assert "\x1b" not in plain
    assert "\x1b[1;32m*5.50" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).split() == plain.split()


def test_ascii_terminal_gets_ascii() -> None:
    """A terminal whose encoding has no line-drawing characters gets none."""
    assert shown(two_stacks(), encoding="ascii").isascii()
    assert not shown(two_stacks()).isascii()


def test_no_records_no_report() -> None:
    """A session without cases prints nothing."""
    assert report_lines([], width=80, colour=False) == []


def test_groups_stand_together() -> None:
    """Comparable rows stand together in order of first appearance, whatever order workers finished in."""
    order = [("triton", 8), ("triton", 1), ("fastapi", 8), ("fastapi", 1)]
    rows = [Row.from_record(record_of(made_up_result(case=made_up_case(s, batch=b)))) for s, b in order]
    assert [(row.stack, row.max_batch_size) for row in in_groups(rows)] == [
        ("triton", 8),
        ("fastapi", 8),
        ("triton", 1),
        ("fastapi", 1),
    ]


def test_numbers_are_right_aligned() -> None:
    """Digits of one column stand below each other, mark or no mark."""
    records = two_stacks()
    lines = [line for line in shown(records).splitlines() if line.startswith(("triton", "fastapi"))]
    assert lines[0].index("5.50") + 4 == lines[1].index("11.00") + 5


def test_an_open_loop_is_told_by_its_arrivals() -> None:
    """The load's words are its arrivals, and service time and send lag stand beside the response times."""
    case = made_up_case()
    calm = made_up_result(
        FAST,
        case=replace(case, load=replace(case.load, arrivals=Poisson(50))),
        summary=Summary(window_s=2.0, correct=400, service_time_p95_ms=8.5, send_lag_p99_ms=0.25),
    )
    text = shown([record_of(calm)])
    assert "test_speed: resnet50, tensor over http, 1 per request, poisson:50, on cpu" in text
    assert "send lag" in text
    assert {"8.50", "0.25"} <= set(line_of(text, "triton"))
    assert "send lag" not in shown(two_stacks())
    mixed = shown([record_of(calm), *two_stacks()])
    assert {"poisson:50", "16 in flight"} <= set(re.findall(r"poisson:50|16 in flight", mixed))
    stages = Staged(stages=(Stage(10, 50), Stage(100, 50), Stage(20, 50)))
    long = replace(case, load=replace(case.load, arrivals=stages))
    assert ", stages:0:10s:50,100s:..., on cpu" in shown([record_of(made_up_result(FAST, case=long))])


def test_a_search_has_a_column_and_a_line_per_case() -> None:
    """Last pass, first fail and the objective; the higher capacity wins, and other tables have no column."""
    records = []
    for stack, held in (("triton", 135.0), ("fastapi", 64.5)):
        case = replace(made_up_case(stack), objective=DEFAULT_OBJECTIVE)
        load = replace(case.load, arrivals=Poisson(held))
        capacity = made_up_capacity(held)
        records.append(record_of(made_up_result(case=replace(case, load=load), capacity=capacity)))
    text = shown(records)
    assert "1 per request, p95<=50ms,errors<2%, on cpu" in text
    assert "holds" in text
    assert "*135.0" in line_of(text, "triton")
    assert "64.5" in line_of(text, "fastapi")
    assert (
        "capacity: test_speed fastapi onnx, batch 8, 1 per request, p95<=50ms,errors<2%: "
        "last pass 64.5/s, first fail 141/s (3 trials)"
    ) in text
    assert "holds" not in shown(two_stacks())


def test_a_search_without_an_answer_says_none() -> None:
    """No number stands where none was found, and what stayed undecided is named."""
    case = replace(made_up_case(), objective=DEFAULT_OBJECTIVE)
    trials = (Trial(rate_per_s=50.0, finding=Finding.UNDECIDED), Trial(rate_per_s=25.0, finding=Finding.FAIL))
    capacity = replace(made_up_capacity(), last_passing_per_s=None, first_failing_per_s=None, trials=trials)
    text = shown([record_of(made_up_result(case=case, capacity=capacity))])
    assert "p95<=50ms,errors<2%: last pass none, first fail none, undecided 50/s (2 trials)" in text
    assert "n/a" in line_of(text, "triton")


def test_table_can_be_had_by_itself() -> None:
    """The rich table of rows has one line per row and all columns that differ."""
    rows = [Row.from_record(record) for record in two_stacks()]
    table = result_table(rows)
    assert table.row_count == 2
    assert [str(column.header) for column in table.columns][:3] == ["stack", "format", "max\nbatch"]


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0), ([0.0], 0), ([1234.5], 0), ([12.3, 400.0], 1), ([1.2], 2), ([0.01], 2)]
)
def test_decimals_follow_the_smallest_value(values: list[float], expected: int) -> None:
    """Three significant digits of the smallest value, at most two decimals."""
    assert decimals(values) == expected
