"""``summary.csv`` and ``summary.json``: stable columns, reasons for what is missing, no formula."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.findings import Answer, Claim, Comparison, Findings, Winner
from pytest_servebench.reports.summary.cases import letter
from pytest_servebench.reports.summary.csv_table import COLUMNS, summary_csv
from pytest_servebench.reports.summary.document import summary
from pytest_servebench.reports.summary.figures import FIGURES
from pytest_servebench.schemas import schema_text
from tests.saved_records import repeats, saved_record

VALIDATOR = Draft202012Validator(json.loads(schema_text("summary")))
FINDINGS = Findings(
    winners=(Winner(figure="lowest p95", asked="x", case="y", value=1.0, unit="ms", interval=(0.5, 2.0)),),
    trade_offs=("faster, and larger",),
    overall=("one is best of all",),
    claims=(
        Claim(
            name="c",
            text="t",
            answer=Answer.NOT_MEASURABLE,
            reason="r",
            comparisons=(Comparison(cases="a", answer=Answer.REFUTED, told="2 times", interval=(1.0, 3.0)),),
        ),
    ),
    bottlenecks=(("case", "the queue"),),
)


def run_of(*records: dict[str, Any], name: str = "monday") -> SavedRun:
    """Return a run."""
    return SavedRun(name=name, records=records)


def lines(*runs: SavedRun) -> list[dict[str, str]]:
    """Return what a reader of the CSV gets."""
    return list(csv.DictReader(io.StringIO(summary_csv(runs), newline="")))


def test_the_columns_are_stable() -> None:
    """A column that goes away or changes its name breaks somebody's sheet, and takes a new schema."""
    assert COLUMNS[:5] == ("schema", "run", "run_name", "case", "benchmark")
    for name in ("response_time_p95_ms", "images_per_s", "memory_gb", "joules_per_image", "cold_start_s"):
        at = COLUMNS.index(name)
        assert COLUMNS[at : at + 3] == (name, f"{name}_low", f"{name}_high")
    assert len(set(COLUMNS)) == len(COLUMNS)
    assert {"validity", "believed", "reason", "judgement", "replies"} <= {*COLUMNS}


def test_a_line_for_each_case_of_each_run() -> None:
    """Repeats are one line with medians and bounds; a single measurement has no bounds."""
    one, several = lines(run_of(saved_record()), run_of(*repeats(3), name="tuesday"))
    assert (one["run"], one["run_name"], one["repeats"], one["valid_repeats"]) == ("A", "monday", "1", "1")
    assert (several["run"], several["run_name"], several["valid_repeats"]) == ("B", "tuesday", "3")
    assert one["response_time_p95_ms_low"] == one["response_time_p95_ms_high"] == ""
    low, value, high = (float(several[f"response_time_p95_ms{end}"]) for end in ("_low", "", "_high"))
    assert 0 < low < value < high


def test_what_is_missing_is_empty() -> None:
    """Never 0, and never a word that a program would read as one."""
    (line,) = lines(run_of(saved_record()))
    assert line["gpu_utilization_percent"] == line["joules_per_image"] == ""
    assert line["judgement"] == ""


def test_line_ends_are_those_of_the_standard() -> None:
    """RFC 4180: CRLF after every line, the last one too; a line break in a text is inside of quotes."""
    text = summary_csv([run_of(saved_record(validity="unstable", reason='two\nlines, "quoted"'))])
    assert text.endswith("\r\n")
    (line,) = csv.DictReader(io.StringIO(text, newline=""))
    assert line["reason"] == 'two\nlines, "quoted"'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\n=1", "＝1"])  # noqa: RUF001
def test_no_text_is_a_formula(text: str) -> None:
    """A spreadsheet would compute what somebody wrote as a stack's name; an apostrophe keeps it text."""
    record = saved_record(validity="unstable", reason=text)
    (line,) = lines(run_of(record, name=text))
    assert line["reason"] == f"'{text}"
    assert line["run_name"] == f"'{text}"


@pytest.mark.parametrize("text", ["a=1", "1-1", "x@y", "", "'=1"])
def test_other_text_stays_as_it_is(text: str) -> None:
    """Only what begins as a formula is changed."""
    (line,) = lines(run_of(saved_record(validity="unstable", reason=text)))
    assert line["reason"] == text


def test_the_document_is_as_its_schema_says() -> None:
    """Of runs, repeats, doubtful cases and findings; no field of ours is missing in the schema."""
    runs = [
        run_of(saved_record(), saved_record(stack="triton", validity="unstable", reason="it drifted")),
        run_of(*repeats(3), name="tuesday"),
    ]
    found = json.loads(json.dumps(summary(runs, [FINDINGS, Findings()])))
    assert [error.message for error in VALIDATOR.iter_errors(found)] == []
    schema = VALIDATOR.schema
    assert isinstance(schema, dict)
    assert found.keys() == schema["properties"].keys()
    for name in ("runs", "cases", "overall", "winners", "trade_offs", "claims", "bottlenecks"):
        for each in found[name]:
            assert each.keys() == schema["properties"][name]["items"]["properties"].keys()
    figures = schema["properties"]["cases"]["items"]["properties"]["figures"]["properties"]
    assert list(figures) == [each.name for each in FIGURES]


def test_a_document_without_a_reason_is_refused() -> None:
    """The schema is no rubber stamp."""
    found = json.loads(json.dumps(summary([run_of(saved_record())], [FINDINGS])))
    del found["cases"][0]["figures"]["memory_gb"]["absent"]
    found["cases"][0]["validity"] = "fine"
    assert len([*VALIDATOR.iter_errors(found)]) == 2


def test_figures_have_reasons_and_the_best_is_named() -> None:
    """Why there is no value, and why no interval; a case that is best says in what."""
    runs = [run_of(saved_record(), saved_record(stack="triton", slower=2.0))]
    first, second = summary(runs, [Findings()])["cases"]
    assert first["figures"]["gpu_utilization_percent"]["absent"] == "no NVIDIA driver"
    assert first["figures"]["capacity_per_s"]["absent"] == "no capacity was looked for"
    assert "--serve-repeats" in first["figures"]["response_time_p95_ms"]["interval_absent"]
    assert "response_time_p95_ms" in first["best_in"]
    assert "response_time_p95_ms" not in second["best_in"]
    assert first["conditions"]["cpu"] == "Abacus 2000"
    assert first["conditions"]["concurrency"] == "16"


def test_a_server_that_was_not_restarted_has_no_interval() -> None:
    """The reason says so, not that there were too few repeats."""
    runs = [run_of(*repeats(3, restarted=False))]
    (case,) = summary(runs, [Findings()])["cases"]
    assert "not restarted" in case["figures"]["images_per_s"]["interval_absent"]


def test_runs_are_called_by_letters() -> None:
    """As many as there are."""
    assert [letter(number) for number in (0, 1, 25, 26, 27, 701, 702)] == [
        *("A", "B", "Z", "AA", "AB", "ZZ", "AAA")
    ]
