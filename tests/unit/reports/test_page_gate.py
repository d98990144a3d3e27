"""What the gate of a session said, on the page of its run: on the first screen, and change by change."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.changes import DEFAULT_LIMITS
from pytest_servebench.comparison.regression import changes_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.record import plain
from pytest_servebench.reports.page import page_html
from pytest_servebench.reports.whole_records import whole
from tests.report_pages import parsed
from tests.saved_records import repeats, saved_record

BEFORE = repeats(5)
SLOWER = [saved_record(repeat=n, slower=2 + n / 100) for n in range(1, 6)]


def gated(name: str, now: list[dict[str, Any]], baseline: str = "main") -> SavedRun:
    """Return a run with what its gate has saved."""
    changes = changes_of(BEFORE, now, limits=DEFAULT_LIMITS)
    failed = any(change.verdict == "regression" for change in changes)
    saved = [plain(change) | {"fails": failed} for change in changes]
    gate = {"baseline": {"name": baseline}, "failed": failed, "changes": saved}
    return whole(SavedRun(name=name, records=tuple(now), facts=({"gate": gate},)))


def test_a_red_gate_is_on_the_first_screen() -> None:
    """Why a build is red is the first that is read, and leads to the changes."""
    page = parsed(page_html([gated("monday", SLOWER)]))
    told = page.one("header").text
    assert "Gate against main: failed: 1 regression, 1 passed" in told
    (section,) = [each for each in page.all("section") if each.attributes.get("aria-labelledby") == "gate"]
    assert "limit +5%, 5 v 5 repeats, p 0.004" in section.text
    assert [head for head in ("main", "now", "change", "verdict") if head not in section.text] == []


def test_a_green_gate_says_so() -> None:
    """Green is a verdict too, and told like one."""
    told = parsed(page_html([gated("monday", BEFORE)])).one("header").text
    assert "Gate against main: passed: 2 passed" in told


def test_of_several_runs_each_has_its_own() -> None:
    """Gates are told by the letters of their runs."""
    told = parsed(page_html([gated("monday", BEFORE), gated("tuesday", SLOWER)])).one("header").text
    assert "Gate of A against main: passed" in told
    assert "Gate of B against main: failed" in told


@pytest.mark.parametrize("gate", [None, {"changes": [{"edited": 1}]}, {"changes": 3}, "text"])
def test_without_a_gate_there_is_no_word_of_one(gate: object) -> None:
    """Also where somebody edited what was saved."""
    facts = ({"gate": gate},) if gate else ()
    page = parsed(page_html([whole(SavedRun(name="monday", records=tuple(BEFORE), facts=facts))]))
    assert [each for each in page.all() if each.attributes.get("id") == "gate"] == []


def test_a_baselines_name_stays_text() -> None:
    """It may be whatever somebody called a file."""
    told = page_html([gated("monday", SLOWER, baseline="<script>alert(1)</script>")])
    assert "<script>alert" not in told
