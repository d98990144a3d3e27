"""What is told of the marker's keywords is all of them, in ``pytest --markers`` and in the docs."""

from __future__ import annotations

import re

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.options.marker import marker_arguments
from pytest_servebench.plugin import MARKER
from tests.doc_blocks import ROOT


def keywords() -> set[str]:
    """Return the keywords that the marker takes, as its refusal of another one lists them."""
    with pytest.raises(PlanError) as refused:
        marker_arguments({"nonsense": 1})
    return set(re.findall(r"\w+", refused.value.next_step.removeprefix("allowed:")))


def test_the_marker_explains_every_keyword() -> None:
    """Whoever asks ``pytest --markers`` misses none."""
    assert set(re.findall(r"(\w+)=", MARKER)) == keywords()


def test_the_docs_explain_every_keyword() -> None:
    """docs/your-benchmark.md has a row that names it."""
    page = (ROOT / "docs" / "your-benchmark.md").read_text(encoding="utf-8")
    section = page.split("## What the marker says\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    words = [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]
    assert {word.partition("=")[0] for word in words} == keywords()
