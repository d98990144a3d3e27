"""The first screen of ``report.html``: who won, by how much, how sure that is, and what to beware of."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.findings.finding import Findings
from pytest_servebench.reports.findings.headline import answer, deciding_winners, told_apart
from pytest_servebench.reports.page.assets import text_of
from pytest_servebench.reports.page.cases import cases_of
from pytest_servebench.reports.page.doubts import in_short
from pytest_servebench.reports.page.fields_shown import label, shown, shown_over
from pytest_servebench.reports.page.opening import certainty, opening_of, winner_words
from pytest_servebench.reports.row import Row
from pytest_servebench.results import Validity
from tests.report_pages import FINDINGS, a_run, a_winner
from tests.saved_records import saved_record

CASES = cases_of([a_run()])
ROWS = [case.row for case in CASES]
ONE = "test_latency: resnet50, 1 in flight"
MANY = "test_throughput: resnet50, 16 in flight"


def test_one_that_wins_everything_is_told_so() -> None:
    """It wins where repeats prove it, and is ahead where they do not."""
    won = [a_winner(certain=True), a_winner(figure="highest throughput", certain=True)]
    assert answer(won, ROWS) == "triton onnx wins: lowest p95 and highest throughput."
    won[1] = a_winner(figure="highest throughput")
    assert answer(won, ROWS) == "triton onnx is ahead: lowest p95 and highest throughput."


def test_winners_of_different_loads_are_told_apart() -> None:
    """The case that is best most often comes first; the load is named where it decides."""
    won = [
        a_winner(asked=ONE, case="fastapi onnx"),
        a_winner(asked=MANY),
        a_winner(asked=ONE, figure="highest throughput"),
        a_winner(asked=MANY, figure="highest throughput"),
    ]
    assert answer(won, ROWS) == (
        "triton onnx is ahead: lowest p95 with 16 requests in flight and highest throughput. "
        "fastapi onnx: lowest p95 with 1 request in flight."
    )


def test_loads_of_many_words_are_counted() -> None:
    """A headline stays one: what takes many words to tell apart stands under the findings."""
    won = [a_winner(asked=f"test_speed: max batch {n}, {n} per request, {n} in flight") for n in (1, 8)]
    won[1] = replace(won[1], case="fastapi onnx")
    assert answer(won, ROWS) == (
        "triton onnx is ahead: lowest p95 in 1 of 2 comparisons. "
        "fastapi onnx: lowest p95 in 1 of 2 comparisons."
    )


def test_overlapping_intervals_make_no_winner() -> None:
    """What repeats cannot tell apart is not told as if they could."""
    won = [a_winner(interval=(4.0, 5.0), tied=("fastapi onnx", "fastapi pytorch"))]
    assert answer(won, ROWS).startswith("No clear winner. triton onnx is ahead: ")
    assert "overlaps" in certainty(won)
    assert winner_words(won[0]).why == (
        "50% better than fastapi onnx; 95% interval 4.00 to 5.00; "
        "cannot be told from fastapi onnx and fastapi pytorch"
    )


@pytest.mark.parametrize(
    ("validities", "text"),
    [
        (["valid"], "No winner: only one case was measured."),
        (["errors"] * 2, "No winner: none of the 2 cases may be believed; the table says why."),
        (
            ["valid", "errors"],
            "No winner: 1 of 2 cases may be believed, and no two of those were asked alike.",
        ),
    ],
)
def test_why_nobody_won(validities: list[str], text: str) -> None:
    """A page without a winner says what is missing."""
    records = [
        saved_record(stack=stack, result={"validity": Validity(validity), "reason": "why"})
        for stack, validity in zip(("fastapi", "triton"), validities, strict=False)
    ]
    assert answer([], [Row.from_record(record) for record in records]) == text


def test_how_sure_it_is() -> None:
    """Measured once, it may be chance, and what tells is named; with repeats that agree, it is not."""
    assert "--serve-repeats=5" in certainty([a_winner()])
    assert "confirm" in certainty([a_winner(certain=True, interval=(4.2, 4.3))])
    assert certainty([]) == ""


def test_what_decides_comes_first() -> None:
    """Latency and throughput, by which stacks are chosen, stand on the first screen; all where neither is."""
    extra = a_winner(figure="shortest cold start")
    assert deciding_winners(Findings(winners=(*FINDINGS.winners, extra))) == FINDINGS.winners
    assert deciding_winners(Findings(winners=(extra,))) == (extra,)


def test_what_all_share_is_not_said_again() -> None:
    """Loads are told apart by what differs; a test's name only where nothing else does."""
    assert told_apart([ONE, MANY]) == {ONE: "1 request in flight", MANY: "16 requests in flight"}
    assert told_apart([ONE]) == {ONE: "resnet50, 1 request in flight"}
    assert told_apart(["test_a: x", "test_b: x"]) == {"test_a: x": "test_a", "test_b: x": "test_b"}


def test_facts_and_cautions() -> None:
    """What was measured, where and when; and whatever a reader should not overlook."""
    record = saved_record(quick=True)
    record["telemetry"] |= {"warnings": ["others were busy"]}
    wrong = saved_record(stack="triton", result={"validity": Validity.UNSTABLE, "reason": "drift"})
    facts = {"started": "2026-11-20T08:00:00+00:00", "plan": {"device_reason": "no GPU driver"}}
    run = SavedRun(name="a", records=(record, wrong), facts=(facts,))
    opening = opening_of([run], cases_of([run]), [FINDINGS])
    told = dict(opening.facts)
    assert told["measured"] == "2026-11-20 08:00:00 UTC"
    assert told["device"].endswith("(no GPU driver)")
    assert told["window"].startswith("2 s after ")
    assert told["machine"].startswith("Abacus 2000, 8 cores, 16 GiB, 2 x RTX 4090")
    assert "numpy 2.0" in told["versions"]
    cautions = " ".join(opening.cautions)
    for words in ("1 of 2 cases may not be believed", "A quick run", "100 replies", "in 1 of 2", "random"):
        assert words in cautions


def test_more_comparisons_than_a_screen_has_room_for_are_counted() -> None:
    """Three are told; the others are under the findings."""
    found = Findings(winners=tuple(a_winner(asked=f"test_speed: max batch {size}") for size in range(5)))
    opening = opening_of([a_run()], CASES, [found])
    assert [race.asked for race in opening.races] == ["max batch 0", "max batch 1", "max batch 2"]
    assert opening.more_races == 2


def test_the_best_of_all_stands_for_many_comparisons() -> None:
    """With several the first screen stays short; where there is one, its figures say the same."""
    found = Findings(
        overall=("Lowest p95: triton",), winners=tuple(a_winner(asked=each) for each in (ONE, MANY))
    )
    opening = opening_of([a_run()], CASES, [found])
    assert opening.overall == ("Lowest p95: triton",)
    assert opening.races == ()
    assert opening.more_races == 2
    alone = opening_of([a_run()], CASES, [replace(found, winners=(a_winner(),))])
    assert alone.overall == ()
    assert len(alone.races) == 1
    two = [a_run("monday"), a_run("tuesday")]
    assert opening_of(two, cases_of(two), [found, found]).overall == (
        "A: Lowest p95: triton",
        "B: Lowest p95: triton",
    )
    three = [*two, a_run("friday")]
    many = opening_of(three, cases_of(three), [found] * 3)
    assert (many.overall, many.races, many.more_races) == ((), (), 6)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("warmup_s", 0.5, "0.500"),
        ("server_memory_bytes", 433_011_532, "433 MB"),
        ("client_cpu_share", 0.131, "13.1%"),
        ("counts", {"correct": 19, "errors": 0}, "correct 19; errors 0"),
        ("settled", None, "n/a"),
        ("steady", False, "no"),
        ("workers", [], "none"),
        ("gpu_utilization_percent", 0, "0"),
    ],
)
def test_a_field_of_any_kind_can_be_read(name: str, value: object, text: str) -> None:
    """Fields are shown by what their names say of them; what is missing is n/a, and a 0 is a 0."""
    assert shown(name, value) == text


def test_a_field_over_repeats() -> None:
    """One value where they agree, else from which to which, and how many have none."""
    assert shown_over("cold_start_s", [2.0, 3.0, None]) == "2.00 to 3.00 (1 of 3 n/a)"
    assert shown_over("backend", ["ort", "ort"]) == "ort"
    assert shown_over("backend", ["ort", "torch"]) == "ort | torch"
    assert label("gpu_power_w") == "gpu power, W"


def test_a_reason_in_short() -> None:
    """Its first clause; a colon inside a word ends nothing."""
    assert in_short("the client sent late: p99 send lag 3 ms; more") == "the client sent late"
    assert in_short("stages:0:5s failed") == "stages:0:5s failed"


def test_the_page_has_the_colours_of_the_plots() -> None:
    """The page's variables are the palette's colours, in its order, on both papers."""
    palette = pytest.importorskip("pytest_servebench.reports.palette")
    told = [colour.upper() for colour in re.findall(r"--series-\d: (#\w{6})", text_of("page.css"))]
    assert told == [colour.upper() for colour in (*palette.PALETTE, *palette.DARK_PALETTE)]
