"""A comparison as text: for the terminal, for a CI summary, for programs."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from pytest_servebench.comparison.side_by_side import SideBySide, side_by_side
from pytest_servebench.reports.comparison import comparison_lines
from pytest_servebench.reports.comparison_data import COLUMNS, SCHEMA, comparison_csv, comparison_json
from pytest_servebench.reports.comparison_markdown import code, comparison_markdown, escaped
from pytest_servebench.reports.comparison_words import headline
from pytest_servebench.reports.numbers import numbers
from tests.doc_blocks import ROOT
from tests.runs_made_up import MACHINE, STEADY, joined, made_up_run, times

BEFORE = made_up_run("before")
SLOWER = made_up_run("slower", times(STEADY, 1.2))
CASE = "test_it.py::test_speed[triton-onnx]"


def table(side: SideBySide, width: int = 80, **rest: str) -> str:
    """Return a comparison in plain text."""
    return "\n".join(comparison_lines(side, width=width, colour=False, **rest))


def many_sided() -> SideBySide:
    """Return two runs with every verdict, a pipe in a test's name, and a case on one side."""
    before = joined("a", BEFORE, made_up_run("a", test="test|b"), made_up_run("a", stack="fastapi"))
    now = joined(
        "b",
        SLOWER,
        made_up_run("b", times(STEADY, 0.8), test="test|b"),
        made_up_run("b", [10.0], stack="fastapi"),
        made_up_run("b", test="test_new"),
    )
    return side_by_side([before, now])


def test_the_table_of_two_runs() -> None:
    """Which run is which, a row for each figure under its case, a sentence for what counts, the counts."""
    text = table(side_by_side([BEFORE, SLOWER], figures=["p95", "throughput", "energy"]))
    assert text == (
        "A  before (5 repeats, 1 case), the baseline\n"
        "B  slower (5 repeats, 1 case)\n"
        "\n"
        "figure                    A      B   change       95% interval   verdict\n"
        "───────────────────────────────────────────────────────────────────────────\n"
        f"{CASE}\n"
        "p95 ms                 10.0   12.0     +20%   [+18.2%, +21.8%]   regression\n"
        "throughput images/s   100.0   83.3   -16.7%   [-17.9%, -15.4%]   regression\n"
        "\n"
        "n/a in every run: energy\n"
        f"regression: {CASE}: p95 10 -> 12 ms, +20% [+18.2%, +21.8%], limit +5%, 5 v 5 repeats, p 0.004\n"
        f"regression: {CASE}: throughput 100 -> 83.3 images/s, -16.7% [-17.9%, -15.4%], limit -5%, "
        "5 v 5 repeats, p 0.004\n"
        "2 regressions"
    )


def test_the_counts_are_one_line() -> None:
    """Counts are of judged figures, in words, none of which is there for nothing."""
    assert headline(many_sided()) == "2 regressions, 2 improvements, 4 inconclusive"
    assert headline(side_by_side([BEFORE, BEFORE])) == "2 passed"
    unjudged = side_by_side([BEFORE, SLOWER], figures=["p50"])
    assert headline(unjudged) == "nothing judged: no figure that is shown has a limit"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_tables_fit_their_width(width: int) -> None:
    """No line of a table is wider than asked, and what was left out is named."""
    runs = [BEFORE, SLOWER, made_up_run("c", machine={**MACHINE, "cpu": "x"}), made_up_run("d", [10.0])]
    for side in (many_sided(), side_by_side(runs)):
        lines = table(side, width).split("\n")
        begin, end = (lines.index(""), len(lines) - lines[::-1].index(""))
        assert max(len(line) for line in lines[begin:end]) <= width
        shown = "[+18.2%, +21.8%]" in "".join(lines[begin:end])
        assert shown is not (f"not shown at {width} columns: 95% interval" in lines)


def test_more_runs_than_columns_stand_below_each_other() -> None:
    """Where three runs do not fit beside each other, each figure has a line for each run."""
    text = table(side_by_side([BEFORE, SLOWER, BEFORE], figures=["p95"]), 60)
    body = text.split(f"{CASE}\n")[1].split("\n")[:3]
    assert [line.split() for line in body] == [
        ["p95", "ms", "A", "10.0"],
        ["B", "12.0", "+20%", "regression"],
        ["C", "10.0", "0%", "pass"],
    ]


def test_a_doubt_is_told_with_its_word_and_once() -> None:
    """Runs without repeats show their numbers, ``inconclusive: too_few``, and the reason once."""
    side = side_by_side([made_up_run("a", [10.0]), made_up_run("b", [15.0])])
    text = table(side, 100)
    assert "p95 ms                 10.0   15.0     +50%                  inconclusive: too_few" in text
    assert text.count("repeats give no p below") == 1
    assert text.endswith("\n2 inconclusive")
    assert "+50%                  inconclusive:\n" in table(side)


def test_differences_stand_above_the_table() -> None:
    """What differs between the machines is said before any number."""
    other = made_up_run("other", machine={**MACHINE, "cpu": "another CPU"})
    lines = table(side_by_side([BEFORE, other])).split("\n")
    assert lines[2] == "B differs from A: cpu was made-up CPU, is another CPU"


def test_cases_of_one_side_are_listed() -> None:
    """They are in no table, and named below."""
    text = table(many_sided())
    assert "\nonly in B: test_it.py::test_new[triton-onnx]\n" in text
    assert f"\n{CASE.replace('speed', 'new')}\n" not in text


def test_a_missing_figure_is_never_0() -> None:
    """A figure that one run lacks is n/a, as is its change."""
    lacking = made_up_run("b", STEADY, figures={})
    text = table(side_by_side([BEFORE, lacking], figures=["memory"]))
    (row,) = [line for line in text.split("\n") if line.startswith("memory")]
    assert row.split()[:6] == ["memory", "GB", "1.50", "n/a", "n/a", "inconclusive:"]


def test_brackets_and_colons_are_no_markup() -> None:
    """A case's name is shown as it is, whatever rich would make of it."""
    case = "test_it.py::test_[red]:smile:[triton-onnx]"
    assert case in table(side_by_side([made_up_run("a", test="test_[red]:smile:")] * 2))


def test_without_utf_8_there_is_only_ascii() -> None:
    """Lines are drawn with what the terminal's encoding has."""
    assert table(side_by_side([BEFORE, SLOWER]), encoding="ascii").isascii()


def test_colour_only_where_it_is_asked_for() -> None:
    """Escape codes for a terminal, none for anything else."""
    side = side_by_side([BEFORE, SLOWER])
    assert "\x1b[" in "\n".join(comparison_lines(side, width=80, colour=True))
    assert "\x1b[" not in table(side)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1234.0, 1300.0), ["1,234", "1,300"]),
        ((9.5, 100.0), ["9.50", "100.00"]),
        ((0.0123, None), ["0.0123", "n/a"]),
        ((0.0, 5.0), ["0.00", "5.00"]),
        ((None, None), ["n/a", "n/a"]),
    ],
)
def test_numbers_have_three_digits_of_the_smallest(
    values: tuple[float | None, ...], shown: list[str]
) -> None:
    """Numbers beside each other have the same decimals; what is missing is n/a."""
    assert numbers(values) == shown


def test_markdown_begins_with_what_counts() -> None:
    """Counts, then regressions before improvements, then all cases folded."""
    text = comparison_markdown(many_sided())
    assert text.startswith("**2 regressions, 2 improvements, 4 inconclusive**\n\n- A: a (")
    order = [
        "| **regression** |",
        "| **improvement** |",
        "inconclusive: too\\_few",
        "<details><summary>All 3 cases",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.endswith("\n</details>\n")


def test_markdown_tables_keep_their_columns() -> None:
    """A pipe in a test's name ends no cell: every row of a table has as many as its head."""
    lines = comparison_markdown(many_sided()).split("\n")
    tables = "\n".join(line if line.startswith("| ") else "" for line in lines).split("\n\n")
    for rows in (each.strip().split("\n") for each in tables if each.strip()):
        widths = {row.replace("\\|", "").count("|") for row in rows}
        assert len(widths) == 1, rows
    assert "`test_it.py::test\\|b[triton-onnx]`" in "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "shown", "in_code"),
    [
        ("a|b", r"a\|b", r"`a\|b`"),
        ("a`b", r"a\`b", "`` a`b ``"),
        ("<b>\n[x](y)", r"\<b\> \[x\](y)", "`<b> [x](y)`"),
    ],
)
def test_what_markdown_would_read_is_escaped(text: str, shown: str, in_code: str) -> None:
    """Names are shown as they are."""
    assert escaped(text) == shown
    assert code(text, in_table=True) == in_code


def test_csv_has_a_row_for_each_case_figure_and_run() -> None:
    """Documented columns; a change belongs to its run; what is missing is empty, never 0."""
    side = side_by_side([BEFORE, SLOWER, BEFORE], figures=["p95", "energy"])
    rows = list(csv.DictReader(io.StringIO(comparison_csv(side))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["figure"], row["run"]) for row in rows] == [
        (figure, run) for figure in ("p95", "energy") for run in "ABC"
    ]
    first, second = rows[:2]
    assert {**first, "schema": ""} | {"schema": str(SCHEMA)} == first
    assert (first["median"], first["replicates"], first["change_percent"], first["verdict"]) == (
        "10.0",
        "5",
        "",
        "",
    )
    assert (second["run_name"], second["change_percent"], second["limit_percent"]) == (
        "slower",
        "20.0",
        "5.0",
    )
    assert (second["verdict"], second["doubt"], second["unit"]) == ("regression", "", "ms")
    assert [row["median"] for row in rows[3:]] == ["", "", ""]


def test_the_page_tells_every_column() -> None:
    """A column that is written is documented, and no other."""
    page = (ROOT / "docs" / "comparing-runs.md").read_text(encoding="utf-8")
    table = page.split("| column | meaning |")[1].split("\n\n")[0]
    told = [
        name for line in table.splitlines()[2:] for name in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    ]
    assert told == list(COLUMNS)


def test_json_is_strict_and_has_the_same_rows() -> None:
    """It has null where nothing is; runs, differences and one-sided cases besides."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(comparison_json(many_sided()), parse_constant=refuse)
    assert content["schema"] == SCHEMA
    assert [run["run"] for run in content["runs"]] == ["A", "B"]
    assert content["verdicts"] == {"regression": 2, "improvement": 2, "pass": 0, "inconclusive": 4}
    assert content["one_sided_cases"] == {"test_it.py::test_new[triton-onnx]": ["B"]}
    assert set(content["rows"][0]) == set(COLUMNS) - {"schema"}
    missing = [row for row in content["rows"] if row["figure"] == "energy"]
    assert missing
    assert {row["median"] for row in missing} == {None}
