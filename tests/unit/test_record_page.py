"""docs/record.md speaks of every field, and of none that is not there."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

from pytest_servebench.record import make_record
from pytest_servebench.results import Telemetry
from tests.doc_blocks import ROOT
from tests.made_up import MACHINE, SETTINGS, made_up_result
from tests.record_page import PAGE, fields_told

OF_THE_RECORDER = {"test", "benchmark", "measurement", "worker"}
"""What `recording` adds, which knows the test; tests/plugin/test_recording.py sees them there."""


def made() -> dict[str, Any]:
    """Return a record."""
    return make_record(made_up_result(), plan=SETTINGS, machine=MACHINE)


def test_every_field_has_its_row() -> None:
    """A field without a row is unknown to whoever reads the file; a row without a field is a lie."""
    assert fields_told() == {*made(), *OF_THE_RECORDER}


def test_every_figure_of_the_telemetry_is_told() -> None:
    """Each stands in the rows of telemetry, or on the page of its figures."""
    pages = "".join(
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("telemetry", "metrics")
    )
    named = set(re.findall(r"`([a-z0-9_]+)", PAGE + pages))
    assert {each.name for each in fields(Telemetry)} <= named


def test_every_name_of_the_reference_is_told() -> None:
    """The figures under the names that the reference gives them."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `figures` |")]
    assert [name for name in json.loads(json.dumps(made()["figures"])) if f"`{name}`" not in row] == []
