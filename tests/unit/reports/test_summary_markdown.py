"""``summary.md``: what counts first, user text inert, and never longer than a CI job takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.comparison.changes import DEFAULT_LIMITS
from pytest_servebench.comparison.regression import changes_of
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.record import plain
from pytest_servebench.reports.comparison_markdown import escaped
from pytest_servebench.reports.findings import Findings, Winner
from pytest_servebench.reports.findings.headline import answer
from pytest_servebench.reports.summary.fitting import Part, fitted
from pytest_servebench.reports.summary.markdown import summary_markdown
from pytest_servebench.reports.summary.winner import winner_sentence
from pytest_servebench.reports.whole_records import whole
from tests.saved_records import repeats, saved_record

NONE = (Findings(), "")
WINNER = Winner(
    figure="lowest p95",
    asked="test_speed, 16 in flight",
    case="fastapi onnx",
    value=8.55,
    unit="ms",
    runner_up="triton onnx",
    margin=0.5,
)


def text_of(*records: dict[str, object], **facts: object) -> str:
    """Return the summary of one run."""
    run = whole(SavedRun(name="monday", records=tuple(records), facts=(facts,) if facts else ()))
    return summary_markdown([run], [NONE])


def test_the_winner_comes_first_and_the_best_is_bold() -> None:
    """Whoever reads one line reads who won, by how much, and that one run each proves nothing."""
    run = SavedRun(name="m", records=(saved_record(), saved_record(stack="triton", slower=2.0)))
    text = summary_markdown([run], [(Findings(winners=(WINNER,)), "### Findings\n\n- a claim")])
    title, *_ = text.splitlines()
    assert title == (
        "## fastapi onnx is ahead: lowest p95 (8.55 ms, 50% better than triton onnx). "
        "Measured once, so it may be chance"
    )
    assert "\n### Findings\n\n- a claim\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| fastapi |")]
    rows += [line for line in text.splitlines() if line.startswith("| triton |")]
    assert ["**8.55**" in row for row in rows] == [True, False]


def test_the_page_and_the_summary_say_the_same() -> None:
    """One wording of who wins; the summary's has figures, for no cards stand below it."""
    found = Findings(winners=(replace(WINNER, certain=True),))
    assert (
        winner_sentence(found, []) == "fastapi onnx wins: lowest p95 (8.55 ms, 50% better than triton onnx)"
    )
    other = replace(WINNER, asked="test_speed, 1 in flight", case="triton onnx", certain=True)
    many = Findings(winners=(*found.winners, other))
    assert winner_sentence(many, []) == answer(many.winners, []).rstrip(".")


def test_a_case_that_may_not_be_believed_wins_nothing_and_says_why() -> None:
    """The reason stands in the verdict's cell, and the title does not praise."""
    odd = saved_record(validity="unstable", reason="it drifted")
    text = text_of(odd)
    assert text.startswith("## No winner: ")
    assert "unstable: it drifted |" in text


def test_one_case_has_no_rival() -> None:
    """A race of one is none."""
    assert text_of(saved_record()).startswith("## No winner: only one case was measured")


def test_a_limit_that_was_not_held_is_in_the_verdict() -> None:
    """The sentence of the breach, of any repeat."""
    breach = {"judgement": "fail", "reason": "", "breaches": [{"sentence": "p95 9 ms exceeds 8 ms"}]}
    text = text_of(*({**record, "verdict": breach} for record in repeats(2)))
    assert "valid 2/2, fail: p95 9 ms exceeds 8 ms |" in text


def test_what_the_gate_said_is_told() -> None:
    """Regressions of the session's own gate, as saved beside its records."""
    before, now = repeats(5), [saved_record(repeat=n, slower=2 + n / 100) for n in range(1, 6)]
    changes = [plain(change) | {"fails": True} for change in changes_of(before, now, limits=DEFAULT_LIMITS)]
    gate = {"baseline": {"name": "main"}, "failed": True, "changes": changes}
    text = text_of(*now, gate=gate)
    assert text.startswith("## Gate against `main`: failed\n"), "before any winner"
    assert "**1 regression, 1 passed**" in text
    assert text.count("| **regression** |") == 1
    assert "Gate" not in text_of(*now, gate={"changes": [{"edited": 1}]})


def test_several_runs_are_compared() -> None:
    """Each has its table and letter, and the second is compared with the first."""
    runs = [
        SavedRun(name=name, records=tuple(repeats(5, result={}, machine={"cpu": "one"})))
        for name in ("one", "two")
    ]
    text = summary_markdown(runs, [NONE, NONE])
    assert "A: one (5 repeats, 1 case)" in text
    assert "B: two (5 repeats, 1 case)" in text
    assert "### Side by side" in text
    assert text.count("<details>") == text.count("</details>")


def test_runs_without_a_common_case_are_one_sentence() -> None:
    """Loads of a curve, each a run of its own, are not a list of what the others lack."""
    runs = [SavedRun(name=str(batch), records=(saved_record(batch=batch),)) for batch in (1, 2, 4)]
    text = summary_markdown(runs, [NONE] * 3)
    assert "No case of A is in another of these runs, so nothing is compared." in text
    assert "only in" not in text


@pytest.mark.parametrize(
    ("written", "inert"),
    [
        ("a|b", r"a\|b"),
        ("`rm`", r"\`rm\`"),
        ("@everybody", "@&#8203;everybody"),
        ("see #12", r"see \#&#8203;12"),
        ("<script>", r"\<script\>"),
        ("[a](http://b)", r"\[a\](http://b)"),
        (":tada:", ":&#8203;tada:"),
        ("10:11:12", "10:11:12"),
        ("$x$", "&#36;x&#36;"),
        ("two\nlines", "two lines"),
    ],
)
def test_user_text_does_nothing(written: str, inert: str) -> None:
    """It calls nobody, closes no cell, links no issue, and is no markup."""
    assert escaped(written) == inert


@given(st.text(max_size=40))
def test_a_table_has_as_many_cells_whatever_a_reason_says(reason: str) -> None:
    """Each line of a table has as many bars as its head."""
    lines = text_of(saved_record(validity="unstable", reason=reason)).splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("| stack |"))
    bars = [line.replace("\\\\", "").replace(r"\|", "").count("|") for line in lines[head : head + 3]]
    assert bars[0] == bars[1] == bars[2]


@given(st.integers(500, 4000), st.lists(st.integers(0, 30), max_size=8))
def test_no_summary_is_longer_than_it_may_be(most_bytes: int, counts: list[int]) -> None:
    """Whatever the parts, the text fits, and says what is not there."""
    parts = [
        Part(name=f"part {n}", head=(f"# {n}",), lines=("é" * 30,) * count, tail=("end",))
        for n, count in enumerate(counts)
    ]
    text = fitted(parts, most_bytes)
    assert len(text.encode()) <= most_bytes
    cut = "would be too long" in text
    assert cut is (text.count("é" * 30) < sum(counts) or text.count("# ") < len(counts))


def test_a_long_run_is_cut_at_its_end() -> None:
    """What counts is kept, and every opened block is closed."""
    records = [saved_record(stack=f"stack{number}", batch=number + 1) for number in range(60)]
    run = SavedRun(name="m", records=tuple(records))
    whole_text = summary_markdown([run], [NONE])
    text = summary_markdown([run], [NONE], most_bytes=3000)
    assert len(whole_text) > 3000 >= len(text.encode())
    assert text.splitlines()[0] == whole_text.splitlines()[0]
    assert "more lines would be too long; summary.json has them." in text
    assert text.count("<details>") == text.count("</details>")
