"""docs/verdicts.md says what the code does: its lines, its words, its numbers."""

from __future__ import annotations

import re

import pytest

from benchmarks.gate.simulation import simulation_table
from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeVerdict, Doubt
from pytest_servebench.comparison.figures import FIGURES
from pytest_servebench.comparison.regression import changes_of, sentence
from pytest_servebench.comparison.significance import is_enough, smallest_p
from tests.compared import repeated
from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
CASE = "triton-onnx-tensor-http-b8-i1-c1"
BEFORE = [41.0, 41.4, 41.2, 41.1, 41.3]
SLOWER = [47.9, 48.2, 47.5, 47.7, 48.0]


@pytest.mark.parametrize("repeats", [5, 3])
def test_the_lines_on_the_page_are_lines_of_the_gate(repeats: int) -> None:
    """A reader finds in a terminal what the page shows."""
    sides = [repeated(side[:repeats], case=CASE) for side in (BEFORE, SLOWER)]
    (change,) = changes_of(*sides, limits=DEFAULT_LIMITS[:1])
    assert f"\n{sentence(change)}\n" in PAGE


def test_every_word_is_on_the_page() -> None:
    """No verdict, doubt or figure is told that is not explained."""
    for word in (*ChangeVerdict, *Doubt, *FIGURES):
        assert f"`{word}`" in PAGE, word


def test_the_counts_on_the_page_are_right() -> None:
    """What is called too few is, and the smallest p are those."""
    assert "(3 v 3 and less; 5 v 1; 1 v 19)" in PAGE
    assert not any(is_enough(*counts) for counts in ((3, 3), (5, 1), (1, 19)))
    assert is_enough(1, 20)
    assert "1/252, four against four 1/70" in PAGE
    assert (smallest_p(5, 5), smallest_p(4, 4)) == (1 / 252, 1 / 70)


def test_the_table_on_the_page_is_what_the_simulation_gives() -> None:
    """Every share of the page's table comes out again, give or take what chance does with fewer families."""
    lines = simulation_table(1000).splitlines()
    shown = PAGE.splitlines()[PAGE.splitlines().index(lines[0]) :][: len(lines)]
    for line, again in zip(shown[2:], lines[2:], strict=True):
        on_page, found = (list(map(float, re.findall(r"[\d.]+", each))) for each in (line, again))
        assert on_page[:2] == found[:2]
        assert on_page == pytest.approx(found, abs=6)
