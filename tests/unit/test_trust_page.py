"""docs/trust.md says of this project what was measured: every figure stands where it leads."""

from __future__ import annotations

import re

import pytest

from pytest_servebench.verification import _EXACT, _HALF, _TENSOR_FLOAT
from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "](" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0][2:40]))
def test_a_figure_stands_where_it_leads(row: list[str]) -> None:
    """Whoever follows the link of a row finds its figures there: nothing is told that is not measured."""
    page, heading = re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\)", row[2])[0]
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert heading
    assert not [figure for figure in re.findall(r"\*\*(.+?)\*\*", row[1]) if figure not in text]


def test_what_counts_as_the_same_is_said() -> None:
    """The tolerances on the page are those that answers are compared with."""
    said = re.search(
        r'"The same" is a difference of at most ([\d.]+).*On GPUs ([\d.]+), for.* ([\d.]+):', PAGE, re.DOTALL
    )
    assert said is not None
    assert [float(number) for number in said.groups()] == [_EXACT, _TENSOR_FLOAT, _HALF]
