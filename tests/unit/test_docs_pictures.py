"""README's picture of a terminal is what a terminal shows, and asks no other machine for anything."""

from __future__ import annotations

import re
from html import unescape

import pytest

from docs.pictures.capture import WIDTH, picture
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.terminal import report_lines
from tests.doc_blocks import ROOT
from tests.saved_records import saved_record

RUN = SavedRun(name="now", records=(saved_record(),))
COMMITTED = (ROOT / "docs" / "pictures" / "terminal.svg").read_text(encoding="utf-8")


def text_of(svg: str) -> str:
    """Return the letters of a picture, without spaces."""
    return re.sub(r"\s", "", unescape(re.sub(r"<[^>]+>", "", svg)))


def test_the_picture_says_what_the_terminal_says() -> None:
    """Every line of the report is in the picture, whole."""
    drawn = text_of(picture(RUN))
    lines = [line for line in report_lines(RUN.records, width=WIDTH, colour=False) if line.strip("─ ")]
    assert len(lines) > 3
    assert not [line for line in lines if re.sub(r"\s", "", line) not in drawn]


def test_one_benchmark_can_be_chosen() -> None:
    """Another benchmark's table is left out."""
    assert RUN.records[0]["benchmark"] in picture(RUN, RUN.records[0]["benchmark"])
    assert RUN.records[0]["benchmark"] not in picture(RUN, "test_another")


@pytest.mark.parametrize("svg", [picture(RUN), COMMITTED], ids=["made now", "in README"])
def test_a_picture_asks_for_nothing(svg: str) -> None:
    """It has no font, script or image of another machine."""
    assert "font-face" not in svg
    assert not re.search(r"url\([^#]|href=|<script|<image", svg)
