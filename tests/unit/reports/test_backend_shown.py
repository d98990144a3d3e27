"""What served a case, as reports tell it: the server's own word where there is one."""

from __future__ import annotations

import json

import pytest

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.backend import backend_of
from pytest_servebench.reports.findings import Findings
from pytest_servebench.reports.notes import notes
from pytest_servebench.reports.page.cases import cases_of
from pytest_servebench.reports.page.conditions import conditions_of
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.summary.markdown import summary_markdown
from pytest_servebench.reports.whole_records import NOT_KEPT, whole, whole_record
from pytest_servebench.results import NOT_TOLD, Served
from tests.saved_records import saved_record

SERVED = Served(
    engine="onnxruntime 1.31.1",
    provider="CUDAExecutionProvider",
    device="cuda:0",
    precision="fp16",
    nodes={"CUDAExecutionProvider": 90, "CPUExecutionProvider": 32},
    warnings=("32 of 122 nodes of the graph are computed on CPUExecutionProvider: they move",),
)
MEASURED = "onnxruntime 1.31.1, CUDAExecutionProvider, cuda:0, fp16"
TOLD = saved_record(result={"served": SERVED})
BEFORE = {key: value for key, value in saved_record().items() if key != "served"}
"""A record of a version that asked no server."""


def test_what_the_server_said_stands_for_the_backend() -> None:
    """Engine and version, provider, device and precision; what it left out is not made up."""
    assert backend_of(TOLD) == MEASURED
    partly = saved_record(result={"served": Served(engine="torch 2.9", device="cpu")})
    assert backend_of(partly) == "torch 2.9, cpu"


@pytest.mark.parametrize(
    "record", [saved_record(result={"served": NOT_TOLD}), BEFORE, {**BEFORE, "served": None}]
)
def test_without_its_word_it_is_the_backend_that_was_asked_for(record: dict[str, object]) -> None:
    """Old records, and servers that do not tell."""
    assert backend_of(record) == "made-up backend"


def test_a_record_of_before_is_made_whole() -> None:
    """It loads, says of what is served that it is not kept, and everything can be drawn of it."""
    made_whole = whole_record(BEFORE)
    assert made_whole["served"]["absent"] == NOT_KEPT
    assert made_whole["served"]["provider"] is None
    assert set(made_whole["served"]) == set(TOLD["served"])
    run = whole(SavedRun(name="before", records=(json.loads(json.dumps(BEFORE)),)))
    assert "made-up backend" in summary_markdown([run], [(Findings(), "")])
    assert Row.from_record(BEFORE).warnings == ()


def test_two_backends_of_a_run_are_told_apart() -> None:
    """Each has commas of its own."""
    other = saved_record(result={"served": Served(engine="torch 2.9", device="cpu")})
    run = whole(SavedRun(name="monday", records=(TOLD, other)))
    assert f"{MEASURED}; torch 2.9, cpu |" in summary_markdown([run], [(Findings(), "")])


def test_tables_show_the_measured_one() -> None:
    """The summary's conditions, and those of a row of the page."""
    run = whole(SavedRun(name="monday", records=(TOLD,)))
    text = summary_markdown([run], [(Findings(), "")])
    assert MEASURED in text
    assert "made-up backend" not in text
    (case,) = cases_of([run])
    conditions = conditions_of(case)
    (server,) = (group.pairs for group in conditions.groups if group.title == "Server")
    assert dict(server)["backend"] == MEASURED
    assert "CPUExecutionProvider 32" in dict(server)["served"]
    assert SERVED.warnings[0] in conditions.doubts


def test_its_warnings_are_those_of_the_row() -> None:
    """They stand below the table with the others."""
    row = Row.from_record(TOLD)
    assert row.warnings == SERVED.warnings
    assert any("32 of 122 nodes" in line for line in notes([row]))
