"""The bottleneck's word stands wherever a case does, and its sentence where there is room for it."""

from __future__ import annotations

import csv
import io
import json

from jsonschema import Draft202012Validator

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.bottleneck import Limit
from pytest_servebench.reports.findings import Findings, findings_of
from pytest_servebench.reports.page.cases import cases_of
from pytest_servebench.reports.page.conditions import conditions_of
from pytest_servebench.reports.page.summary import summary_tables
from pytest_servebench.reports.summary.csv_table import summary_csv
from pytest_servebench.reports.summary.document import summary
from pytest_servebench.reports.summary.markdown import summary_markdown
from pytest_servebench.reports.terminal import table_lines
from pytest_servebench.schemas import schema_text
from tests.found_records import found_record

RECORD = found_record()
RECORD["machine"] = {**RECORD["machine"], "cores_usable": 1.8}
RUN = SavedRun(name="monday", records=(RECORD,))
WHY = "it used 1.50 of the 1.80 cores that were free for it"


def test_the_table_has_the_word() -> None:
    """In a terminal that is wide enough; a narrow one names the column among those left out."""
    assert any("server cpu" in line for line in table_lines([RECORD], width=200, colour=False))
    narrow = "\n".join(table_lines([RECORD], width=60, colour=False))
    assert "server cpu" not in narrow
    assert "limited by" in narrow


def test_the_page_has_the_word_and_its_reason() -> None:
    """The word in the table's row, the reason and the split in the case's details."""
    (case,) = cases_of([RUN])
    (table,) = summary_tables([case])
    headings = [heading.text for heading in table.headings]
    (line,) = table.lines
    cells = [*line.name, None, *line.figures]  # the verdict's has no cell
    shown = cells[headings.index("limited by")]
    assert shown is not None
    assert shown.text == "server cpu"
    (group,) = (each for each in conditions_of(case).groups if each.title == "Bottleneck")
    told = dict(group.pairs)
    assert (told["limited by"], told["because"]) == ("server cpu", WHY)
    assert told["and"].startswith("of 10.0 ms per request queue 2.00 ms (20%)")


def test_the_summaries_have_the_word() -> None:
    """As data in JSON and CSV, by the schema; in Markdown the sentence too."""
    found = findings_of([RECORD])
    whole = summary([RUN], [found])
    assert not list(Draft202012Validator(json.loads(schema_text("summary"))).iter_errors(whole))
    assert [case["limited_by"] for case in whole["cases"]] == ["server cpu"]
    assert whole["bottlenecks"][0]["text"].startswith(f"server cpu: {WHY}; of 10.0 ms")
    assert [line["limited_by"] for line in csv.DictReader(io.StringIO(summary_csv([RUN])))] == ["server cpu"]
    assert "server cpu" in summary_markdown([RUN], [(Findings(), "")])


def test_the_schema_has_every_word() -> None:
    """A word that is added is added there."""
    cases = json.loads(schema_text("summary"))["properties"]["cases"]["items"]["properties"]
    assert cases["limited_by"]["enum"] == [str(word) for word in Limit]
