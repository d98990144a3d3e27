"""What the documentation tells a user to type does what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doc_blocks import ROOT
from tests.doc_commands import complaint_of, run, user_folder
from tests.doc_pages import OTHERS, SHORT, SMALL, complaint_of_page, lay_out

pytestmark = pytest.mark.live


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder as a user has it."""
    with user_folder() as path:
        yield path


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path) -> None:
    """Every command marked to be run ends as the page says, and prints what it shows."""
    complaint = complaint_of_page(page)
    assert not complaint, complaint


@pytest.fixture
def record(folder: Path) -> dict[str, Any]:
    """Return the record of the documented stack, measured as its page says."""
    lay_out(ROOT / "docs" / "add-a-stack.md", folder)
    command = "pytest test_my_model.py --stack=plainhttp --serve-quick --benchmark-json=saved.json"

    def follow(_attempt: int) -> str:
        done = run(command, folder, PYTEST_ADDOPTS=f"{SHORT} {SMALL} -W error")
        return done.stdout if done.returncode else ""

    complaint = complaint_of(follow)
    assert not complaint, complaint
    saved = json.loads((folder / "saved.json").read_text())
    (kept,) = saved["servebench"]["records"]
    return dict(kept)


def test_the_documented_stack_is_measured(record: dict[str, Any]) -> None:
    """A stack offered by a conftest.py leaves a valid record: verified, measured, counted."""
    assert (record["case"]["stack"], record["launcher"]) == ("plainhttp", "process")
    assert (record["validity"], record["reason"]) == ("valid", "")
    assert record["verification"]["before"]["compared"] >= 16
    assert record["counts"]["correct"] > 0
    assert record["images_per_s"] > 0
    assert record["response_time_ms"]["p95"] >= record["response_time_ms"]["p50"] > 0
    # It never gathers requests, and says so itself.
    assert record["telemetry"]["batch_size_achieved"] == 1
    assert record["telemetry"]["server_memory_bytes"] > 0
