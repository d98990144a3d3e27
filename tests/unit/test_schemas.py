"""The JSON Schemas in the package describe what is written, and docs/record.md names the same fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_servebench.containers import ContainerFacts, Network
from pytest_servebench.record import make_record, plain
from pytest_servebench.results import Endpoint, Validity
from pytest_servebench.schemas import SCHEMAS, schema_text
from tests.doc_blocks import ROOT
from tests.made_up import (
    BREACH,
    MACHINE,
    SETTINGS,
    made_up_capacity,
    made_up_case,
    made_up_result,
    wrong_result,
)
from tests.record_page import PAGE, fields_told
from tests.saved_records import saved_record

RECORD = json.loads(schema_text("record"))
VALIDATOR = Draft202012Validator(RECORD)
OF_THE_RECORDER = {"test": "t.py::t", "benchmark": "t", "measurement": 1, "worker": None}


def made(**changes: Any) -> dict[str, Any]:
    """Return a record with what the recorder adds, as a saved file has it."""
    record = make_record(made_up_result(**changes), plan=SETTINGS, machine=MACHINE, verdict=BREACH)
    return {**json.loads(json.dumps(record, allow_nan=False)), **OF_THE_RECORDER}


def complaints(record: dict[str, Any]) -> list[str]:
    """Return in what a record is not as the schema says."""
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(record)]


def objects(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema within a schema that lists properties."""
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield path, schema
        for key, value in schema.items():
            yield from objects(value, f"{path}.{key}")


@pytest.mark.parametrize("word", SCHEMAS)
def test_a_schema_is_one(word: str) -> None:
    """Draft 2020-12, named by a URN: nobody is sent to a host that is not ours."""
    schema = json.loads(schema_text(word))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:pytest-servebench:{word}:1"
    assert SCHEMAS[word] == f"{word}-{schema['properties']['schema']['const']}.schema.json"


@pytest.mark.parametrize("word", SCHEMAS)
def test_every_field_is_described_and_more_may_come(word: str) -> None:
    """A later version may add fields; those of this one each have a sentence, and are required."""
    for path, schema in objects(json.loads(schema_text(word))):
        assert schema.get("additionalProperties", True) is not False, path
        assert set(schema["required"]) == set(schema["properties"]), path
        for name, each in schema["properties"].items():
            assert each.get("description") or "$ref" in each, f"{path}: {name}"


@pytest.mark.parametrize(
    "record",
    [
        made(),
        made(validity=Validity.UNSTABLE, reason="it drifted"),
        made(capacity=made_up_capacity(), summary=None),
        made(samples=None),
        made(
            endpoint=Endpoint(
                stack="triton",
                host="127.0.0.1",
                ports={"http": 1},
                launcher="docker",
                container=ContainerFacts(id="1", image="i", image_id="2", network=Network.HOST, user="0"),
            )
        ),
        made(case=replace(made_up_case(), repeat=2)),
        {
            **json.loads(json.dumps(make_record(wrong_result(), plan=SETTINGS, machine=MACHINE))),
            **OF_THE_RECORDER,
        },
        {**saved_record(), "worker": "gw0"},
    ],
    ids=["plain", "unstable", "capacity", "no samples", "container", "repeat", "wrong", "saved"],
)
def test_records_are_as_the_schema_says(record: dict[str, Any]) -> None:
    """Whatever became of the case."""
    assert complaints(record) == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "records").glob("*.json")), ids=lambda path: path.stem
)
def test_measured_records_are_as_the_schema_says(path: Path) -> None:
    """Real ones, each cut from a saved run."""
    assert complaints(json.loads(path.read_text(encoding="utf-8"))) == []


def test_there_are_measured_records() -> None:
    """Of a closed loop, a staged load and a search for capacity, at least."""
    records = [json.loads(path.read_text("utf-8")) for path in (ROOT / "tests" / "records").glob("*.json")]
    assert any(record["stages"] for record in records)
    assert any(record["capacity"] for record in records)
    assert any(record["load"]["arrivals"] == "closed" for record in records)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 2),
        ("validity", "fine"),
        ("images_per_s", "12"),
        ("window_s", -1.0),
        ("response_time_ms", {"p50": 1.0}),
        ("telemetry", {}),
        ("stages", [{}]),
    ],
)
def test_a_wrong_record_is_refused(field: str, value: object) -> None:
    """The schema is no rubber stamp."""
    assert complaints({**made(), field: value})


@pytest.mark.parametrize("field", RECORD["properties"])
def test_no_field_may_be_left_out(field: str) -> None:
    """What is missing is null, with its key."""
    assert complaints({key: value for key, value in made().items() if key != field})


def test_the_page_and_the_schema_name_the_same_fields() -> None:
    """A field in one of them only is unknown to half of the readers."""
    assert fields_told() == set(RECORD["properties"])


def test_the_schema_has_every_field_of_a_record_at_every_depth() -> None:
    """What a record has within its objects is described, too."""
    record = plain(made(capacity=made_up_capacity()))
    for name, schema in RECORD["properties"].items():
        if isinstance(record[name], dict) and "properties" in schema:
            assert record[name].keys() == schema["properties"].keys(), name


@pytest.mark.parametrize(
    "field", ["case", "load", "container", "stages", "telemetry", "timeline", "capacity"]
)
def test_the_page_names_what_is_within(field: str) -> None:
    """Each field within an object stands in the page's rows, or on the pages of telemetry."""
    pages = [ROOT / "docs" / f"{name}.md" for name in ("telemetry", "metrics")]
    told = set(re.findall(r"`([a-z0-9_]+)", PAGE + "".join(page.read_text("utf-8") for page in pages)))
    schema = RECORD["properties"][field]
    within = schema.get("items", schema)["properties"]
    assert set(within) <= told
