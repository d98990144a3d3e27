"""The summary of the proof, its tables, its goals, and the page that they stand on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gate.pages import BEGIN, DOCS, END, PAGE, SUMMARY, stored_summary, tables_in, write_pages
from benchmarks.gate.schedule import SAME, turns
from benchmarks.gate.summary import Summary, goals_of, summary_of
from benchmarks.gate.table import NOTHING, markdown_of
from pytest_servebench.errors import PlanError
from tests.replicated import replicate, replicates_of_turns

SAMES = [turn for turn in turns(20, 5) if turn.experiment == SAME]


@pytest.fixture(scope="module")
def summary() -> Summary:
    """Return the summary of two blocks of made-up servers that differ by 1% from run to run."""
    return summary_of(replicates_of_turns())


def test_every_comparison_is_counted_once(summary: Summary) -> None:
    """Regressions, improvements, passes and doubts of a kind are all of its comparisons."""
    for kind, comparisons in {SAME: 4, "+5%": 2, "+10%": 2, "+20%": 2}.items():
        counted = summary["gate"][kind]
        words = ("regression", "improvement", "pass", "inconclusive")
        assert sum(counted[word] for word in words) == counted["comparisons"] == comparisons
    assert summary["gate"]["+20%"]["regression"] == 2
    assert summary["gate"][SAME]["pass"] == 4
    assert summary["measured"]["replicates"] == 80


def test_the_obtained_slow_down_is_a_ratio_of_service_times(summary: Summary) -> None:
    """What the sleep did, and not what it was told to do, stands in the table."""
    for kind, share in {SAME: 0.0, "+5%": 0.05, "+10%": 0.1, "+20%": 0.2}.items():
        obtained = summary["slow_down"][kind]
        assert obtained["least"] <= obtained["median"] <= obtained["most"]
        assert obtained["median"] == pytest.approx(share, abs=0.02)


def test_spread_is_that_of_equal_servers() -> None:
    """Within a comparison it is the jitter; a machine that drifts adds to it over the whole time only."""
    drifting = [
        replicate(turn, 0.01 * turn.number, 0.02 * float(normal))
        for turn, normal in zip(SAMES, np.random.default_rng(0).normal(size=len(SAMES)), strict=True)
    ]
    found = summary_of(drifting)["spread"]["p95"]
    assert found["within"] == pytest.approx(0.02, rel=0.15)
    assert found["over_all"] > 3 * found["within"]


def test_goals_are_shares_of_what_was_compared(summary: Summary) -> None:
    """2 of 40, 90% of +10%, all of +20%; a short form has its share of them."""
    assert [met for _, met in goals_of(summary)] == [True, True, True]
    gate = summary["gate"]

    def with_counts(kind: str, comparisons: int, regressions: int) -> list[bool]:
        changed = {**gate, kind: {**gate[kind], "comparisons": comparisons, "regression": regressions}}
        return [met for _, met in goals_of({**summary, "gate": changed})]

    assert with_counts(SAME, 40, 2) == [True, True, True]
    assert with_counts(SAME, 40, 3) == [False, True, True]
    assert with_counts("+10%", 20, 18) == [True, True, True]
    assert with_counts("+10%", 20, 17) == [True, False, True]
    assert with_counts("+20%", 20, 19) == [True, True, False]


def test_nothing_measured_meets_no_goal() -> None:
    """Missing is not passing: an empty experiment is missed, and its table says that nothing was measured."""
    nothing = summary_of(replicates_of_turns(turns(1, 5)[:9]))
    assert [met for _, met in goals_of(nothing)] == [False, False, False]
    assert markdown_of(nothing) == markdown_of(None) == NOTHING


def test_the_tables_show_every_count(summary: Summary) -> None:
    """A row for each server, one for each gate with its false alarms, and the goals in words."""
    text = markdown_of(summary)
    assert "| A/A | " in text
    assert "| **this gate, 5 v 5** | 0 of 4 |" in text
    assert text.count(" of 2 |") == 3 * 7
    assert "false positives of 4: 0, met" in text
    assert "Linux 6.1," in text
    assert "somewhere" not in text


def test_a_summary_is_plain_json(summary: Summary) -> None:
    """What is stored makes the same tables again."""
    assert markdown_of(json.loads(json.dumps(summary))) == markdown_of(summary)


def test_tables_are_written_between_their_marks(tmp_path: Path, summary: Summary) -> None:
    """The text around them stays; written twice, they stand there once."""
    page = tmp_path / PAGE
    page.write_text(f"# Proof\n\n{BEGIN}\nold\n{END}\n\nMethod.\n", encoding="utf-8")
    for _ in range(2):
        write_pages(summary, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert tables_in(text) == markdown_of(stored_summary(tmp_path))
    assert text.startswith("# Proof\n\n")
    assert text.endswith("\n\nMethod.\n")
    assert "old" not in text


def test_a_page_without_marks_is_refused(tmp_path: Path, summary: Summary) -> None:
    """Tables that nobody would see are an error that says where they belong, and nothing is written."""
    page = tmp_path / PAGE
    page.write_text("# Proof\n", encoding="utf-8")
    with pytest.raises(PlanError, match="no place for the tables"):
        write_pages(summary, tmp_path)
    assert page.read_text(encoding="utf-8") == "# Proof\n"
    assert not (tmp_path / SUMMARY).exists()


def test_the_published_tables_are_those_of_the_stored_summary() -> None:
    """Nobody edits a figure by hand: docs/gate-proof.md shows docs/gate-proof.json, or that there is none."""
    assert tables_in((DOCS / PAGE).read_text(encoding="utf-8")) == markdown_of(stored_summary())
