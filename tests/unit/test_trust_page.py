"""docs/trust.md says of this project what was measured: every figure stands where it leads."""

from __future__ import annotations

import re

import pytest

from pytest_servebench.verification import _EXACT, _HALF, _TENSOR_FLOAT
from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
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
        r'"The same" is a difference of at most ([\d.]+).*In TF32 ([\d.]+), for.* ([\d.]+), \[',
        PAGE,
        re.DOTALL,
    )
    assert said is not None
    assert [float(number) for number in said.groups()] == [_EXACT, _TENSOR_FLOAT, _HALF]


def test_the_gate_is_told_as_it_was_measured() -> None:
    """README and this page have the counts of the gate's row in gate-proof.md, whichever run wrote it."""
    table = (ROOT / "docs" / "gate-proof.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith("| **this gate"))
    alarms, at_5, at_10, at_20 = re.findall(r"\d+ of \d+", row)
    assert f"| **{alarms}** comparisons" in PAGE
    assert f"20% slower in **{at_20}**; 10% slower in **{at_10}**" in PAGE
    assert f"5% slower, at its limit, in **{at_5}**" in PAGE
    readme = " ".join(README.split())
    assert f"false alarms in {alarms} comparisons, +20% found in {at_20}, +10% in {at_10}" in readme


@pytest.mark.parametrize("sender", ["**ours**", "k6", "Locust"])
def test_what_senders_cost_is_told_as_it_was_measured(sender: str) -> None:
    """README and the page on other tools have the least and the most of a sender's row in client.md."""
    table = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith(f"| {sender}"))
    ratios = re.findall(r"\| ([\d.]+) \(", row)
    said = f"{min(ratios)} to {max(ratios)}"
    assert said in README
    assert said in " ".join((ROOT / "docs" / "other-tools.md").read_text(encoding="utf-8").split())
