"""Precision in tables, pictures, summaries and findings: no two cases that differ by it are taken for one."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.plan import ModelFormat, Precision
from pytest_servebench.reports.bars import groups_of
from pytest_servebench.reports.findings import findings_of
from pytest_servebench.reports.findings.lines import findings_lines
from pytest_servebench.reports.findings.markdown import findings_markdown
from pytest_servebench.reports.page.cases import cases_of
from pytest_servebench.reports.page.summary import summary_tables
from pytest_servebench.reports.plots.load_curve import curve_points
from pytest_servebench.reports.plots.shown import shown_cases
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.summary.csv_table import summary_csv
from pytest_servebench.reports.summary.document import summary_json
from pytest_servebench.reports.table import split_constants
from tests.found_records import found_record, found_replicates

FP16, INT8 = Precision.FP16, Precision.INT8
BOTH = (found_record(100.0), found_record(210.0, precision=FP16, p95_ms=5.0))


def run(*records: dict[str, Any]) -> SavedRun:
    """Return a run with these records."""
    return SavedRun(name="run", records=records, facts=())


def checked(worst: float, tolerance: float) -> dict[str, Any]:
    """Return what a record has of its answers."""
    one = {"compared": 8, "mismatches": [], "mismatch_count": 0, "tolerance": tolerance}
    before = {**one, "worst_difference": worst / 2}
    return {"verification": {"before": before, "during": {**one, "worst_difference": worst}}}


def test_a_row_is_called_by_its_precision_where_that_is_unusual() -> None:
    """fp32 goes without saying, as in the case's id."""
    plain, half = map(Row.from_record, BOTH)
    assert (plain.form, half.form) == ("onnx", "onnx fp16")
    assert plain.label == "test_throughput triton onnx, batch 8, 1 per request, 16 in flight"
    assert half.label == "test_throughput triton onnx fp16, batch 8, 1 per request, 16 in flight"
    assert plain.group == half.group


def test_a_record_without_the_field_is_of_fp32() -> None:
    """Baselines that were cut down, and whatever was measured before there was a choice."""
    cut = {**BOTH[0], "case": {**BOTH[0]["case"], "precision": None}}
    older = {**BOTH[0], "case": {k: v for k, v in BOTH[0]["case"].items() if k != "precision"}}
    assert {Row.from_record(cut).precision, Row.from_record(older).precision} == {"fp32"}


def test_the_table_has_a_column_where_precisions_differ() -> None:
    """All in fp32: nothing is said, as ever. All in another one: it stands in the title."""
    title, columns = split_constants([Row.from_record(record) for record in BOTH])
    assert [column.header for column in columns][:3] == ["stack", "format", "precision"]
    assert "fp" not in title
    title, columns = split_constants([Row.from_record(BOTH[0])] * 2)
    assert "precision" not in {column.header for column in columns}
    assert "fp32" not in title
    title, columns = split_constants([Row.from_record(BOTH[1])] * 2)
    assert "precision" not in {column.header for column in columns}
    assert title.startswith("fp16, resnet50")


def test_the_pages_table_names_a_case_by_it() -> None:
    """It stands among the names, before the verdict; what has no meaning told is no heading."""
    (table,) = summary_tables(cases_of([run(*BOTH)]))
    assert [heading.text for heading in table.headings][:4] == ["stack", "format", "precision", "verdict"]
    assert all(heading.meaning for heading in table.headings)
    assert [[cell.text for cell in line.name] for line in table.lines] == [
        ["triton", "onnx", "fp32"],
        ["triton", "onnx", "fp16"],
    ]
    (plain,) = summary_tables(cases_of([run(BOTH[0])]))
    assert [heading.text for heading in plain.headings][:3] == ["stack", "format", "verdict"]


def test_cases_of_two_runs_stay_beside_their_own_kind() -> None:
    """With several runs the same case stands side by side, and fp16 is not the same case as fp32."""
    (table,) = summary_tables(cases_of([run(*BOTH), run(*BOTH)]))
    assert [(line.case.row.precision, line.case.letter) for line in table.lines] == [
        *(("fp32", "A"), ("fp32", "B"), ("fp16", "A"), ("fp16", "B"))
    ]


def test_replicates_join_within_a_precision_only() -> None:
    """A median over fp32 and fp16 would be a figure of neither."""
    rows = joined_rows([*found_replicates(100.0), *found_replicates(210.0, precision=FP16)])
    assert [(row.precision, len(row.replicates), row.images_per_s) for row in rows] == [
        ("fp32", 5, 100.0),
        ("fp16", 5, 210.0),
    ]


def test_pictures_have_a_series_for_each() -> None:
    """Bars, legends and the lines of the load curve."""
    _, (group,) = groups_of([run(*BOTH)])
    assert [case.label for case in group.cases] == ["triton onnx", "triton onnx fp16"]
    assert [case.label for case in shown_cases([run(*BOTH)])] == ["triton onnx", "triton onnx fp16"]
    loads = [found_record(each, in_flight=n, precision=p) for each, n, p in LOADS]
    points = curve_points(shown_cases([run(*loads)]))
    assert {point.label for point in points} == {"triton onnx", "triton onnx fp16"}
    by_label = {(point.label, point.order): point.images_per_s for point in points}
    assert by_label["triton onnx", 16] == 100.0
    assert by_label["triton onnx fp16", 16] == 210.0


LOADS = (
    *((80.0, 8, Precision.FP32), (100.0, 16, Precision.FP32)),
    *((150.0, 8, FP16), (210.0, 16, FP16)),
)


def test_summaries_for_programs_have_it() -> None:
    """A column of the CSV, a field of the JSON."""
    lines = list(csv.DictReader(io.StringIO(summary_csv([run(*BOTH)]))))
    assert [line["precision"] for line in lines] == ["fp32", "fp16"]
    found = findings_of(BOTH)
    told = json.loads(summary_json([run(*BOTH)], [found]))
    assert [case["precision"] for case in told["cases"]] == ["fp32", "fp16"]
    assert [each["text"] for each in told["precisions"]] == list(found.precisions)


def test_winners_are_named_by_it() -> None:
    """They race: which precision to serve in is a choice as which format is."""
    winner = next(one for one in findings_of(BOTH).winners if one.figure == "highest throughput")
    assert (winner.case, winner.runner_up) == ("triton onnx fp16", "triton onnx")


def test_what_another_precision_brings_and_costs_is_a_finding() -> None:
    """Images/s, p95 and the largest difference of the answers, with where they were measured."""
    records = [
        found_record(100.0, p95_ms=10.0, **checked(1e-5, 1e-3)),
        found_record(210.0, p95_ms=5.0, precision=FP16, **checked(4e-3, 4e-2)),
    ]
    found = findings_of(records)
    (told,) = found.precisions
    assert told == (
        "triton onnx, fp16 against fp32: 2.10 times the images/s (210 against 100 images/s), 0.500 times"
        " the p95 (5.00 against 10.0 ms), largest difference of an answer 0.004 (0.04 is allowed), in fp32"
        " 1e-05 (tensor over http, max batch 8, 16 in flight, on cpu; one start each, so nothing says how"
        " much of it is chance)"
    )
    assert told in findings_markdown(found)
    assert "### Precisions" in findings_markdown(found)
    assert "fp16 against fp32" in " ".join(findings_lines(found, width=2000, colour=False))
    assert "### Precisions" not in findings_markdown(findings_of([BOTH[0]]))


def test_repeats_give_the_finding_intervals() -> None:
    """Then chance is told by them, and not by a warning."""
    records = [*found_replicates(100.0), *found_replicates(210.0, precision=FP16)]
    (told,) = findings_of(records).precisions
    assert "2.10 times the images/s (210 against 100 images/s; 95%: 2." in told
    assert "chance" not in told


def test_each_stack_format_and_precision_has_its_own_sentence_under_its_largest_load() -> None:
    """No sentence for a pair that lacks its fp32, one for each other precision beside it."""
    records = [
        *(found_record(each, in_flight=n, precision=p) for each, n, p in LOADS),
        found_record(300.0, precision=INT8),
        found_record(90.0, model_format=ModelFormat.PYTORCH),
        found_record(120.0, model_format=ModelFormat.PYTORCH, precision=Precision.BF16),
        found_record(500.0, stack="fastapi", precision=FP16),
    ]
    told = findings_of(records).precisions
    assert [sentence.partition(":")[0] for sentence in told] == [
        "triton onnx, fp16 against fp32",
        "triton onnx, int8 against fp32",
        "triton pytorch, bf16 against fp32",
    ]
    assert "2.10 times the images/s" in told[0]
    assert "16 in flight" in told[0]


def test_what_may_not_be_believed_has_no_speed() -> None:
    """A fast wrong answer brings nothing."""
    wrong = found_record(999.0, precision=FP16, validity="wrong_output", reason="made up")
    assert findings_of([BOTH[0], wrong]).precisions == ()


@pytest.mark.parametrize("claim", ["onnx-faster", "dynamic-batching"])
def test_a_claim_is_tested_in_every_precision_apart(claim: str) -> None:
    """Neither does one hide the other, nor is fp16 ONNX compared with fp32 PyTorch."""
    records = [
        found_record(each, batch=batch, precision=precision, model_format=model_format)
        for each, batch, precision, model_format in (
            *((100, 1, Precision.FP32, ModelFormat.ONNX), (200, 8, Precision.FP32, ModelFormat.ONNX)),
            *((200, 1, FP16, ModelFormat.ONNX), (500, 8, FP16, ModelFormat.ONNX)),
            *((80, 1, Precision.FP32, ModelFormat.PYTORCH), (160, 8, Precision.FP32, ModelFormat.PYTORCH)),
            *((100, 1, FP16, ModelFormat.PYTORCH), (250, 8, FP16, ModelFormat.PYTORCH)),
        )
    ]
    compared = findings_of(records).claim(claim).comparisons
    told = {each.cases: each.value for each in compared}
    if claim == "onnx-faster":
        assert told == {
            "triton, onnx against pytorch, max batch 8, 16 in flight": pytest.approx(1.25),
            "triton, onnx fp16 against pytorch fp16, max batch 8, 16 in flight": pytest.approx(2.0),
        }
    else:
        assert told == {
            "triton onnx, max batch 8 against 1, 16 in flight": pytest.approx(2.0),
            "triton onnx fp16, max batch 8 against 1, 16 in flight": pytest.approx(2.5),
            "triton pytorch, max batch 8 against 1, 16 in flight": pytest.approx(2.0),
            "triton pytorch fp16, max batch 8 against 1, 16 in flight": pytest.approx(2.5),
        }
