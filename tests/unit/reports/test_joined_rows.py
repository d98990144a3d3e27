"""Replicates in the table: one row for a case, as bad as its worst, and no winner by chance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_servebench.comparison.intervals import across_runs
from pytest_servebench.objective import DEFAULT_OBJECTIVE
from pytest_servebench.plan import Plan
from pytest_servebench.record import make_record
from pytest_servebench.reports.repeats import FIGURES, joined_rows, repeats_text
from pytest_servebench.reports.terminal import report_lines
from pytest_servebench.results import Judgement, Validity, Verdict
from tests.made_up import BREACH, MACHINE, SETTINGS, made_up_capacity, made_up_case, made_up_result

LEVEL = [4.0, 5.0, 6.0, 9.0] * 50
CLOSE, CLEAR = (1.0, 1.02, 0.98, 1.01, 0.99), (1.5, 1.52, 1.48, 1.51, 1.49)


def replicates(
    stack: str, factors: Sequence[float] = CLOSE, *, repeats: int = 5, **changes: Any
) -> list[dict[str, Any]]:
    """Return the records of a case's repeats, each so many times as slow as the level."""
    found = []
    for repeat, factor in enumerate(factors, start=1):
        case = replace(made_up_case(stack), repeat=repeat)
        times = [factor * ms for ms in LEVEL]
        result = made_up_result(times, case=case)
        assert result.summary is not None
        # By its times alone a load of so many requests would always be as fast.
        summary = replace(result.summary, images_per_s=100 / factor, throughput_per_s=100 / factor)
        record = make_record(
            replace(result, summary=summary, **changes),
            plan={**SETTINGS, "repeats": repeats},
            machine=MACHINE,
        )
        found.append({**record, "benchmark": "test_speed", "test": f"t.py::test_speed[{case.id}]"})
    return found


def shown(records: list[dict[str, Any]], width: int = 250) -> str:
    """Return the report as one text."""
    return "\n".join(report_lines(records, width=width, colour=False))


def test_replicates_are_one_row_of_medians() -> None:
    """Each figure is the median over the repeats, with the interval's longer arm beside p95 and images/s."""
    records = [*replicates("triton", CLOSE), *replicates("fastapi", CLEAR)]
    text = shown(records)
    rows = joined_rows(records)
    assert [(row.stack, len(row.replicates), row.label.count("repeat")) for row in rows] == [
        ("triton", 5, 0),
        ("fastapi", 5, 0),
    ]
    assert rows[0].response_time_p95_ms == pytest.approx(9.0)
    assert rows[1].images_per_s == pytest.approx(100 / 1.5)
    across = across_runs([9.0 * factor for factor in CLOSE])
    assert across is not None
    assert across.width is not None
    (line,) = [line for line in text.splitlines() if line.startswith("triton")]
    assert line.split().count(f"{100 * across.width:.1f}") == 2, line
    assert line.split()[-2:] == ["valid", "5/5"]
    assert text.count("+-%") == 3
    assert text.isascii() is False
    assert re.sub("─", "", text).isascii(), "a terminal without such characters shows all of it but the line"


def test_without_repeats_the_table_is_as_it_was() -> None:
    """No columns, no legend and no number of repeats."""
    one = [replicates("triton")[0] | {"repeat": None, "repeats": 1}]
    one[0]["case"] = {**one[0]["case"], "repeat": None}
    assert "+-%" not in shown(one)
    (line,) = [line for line in shown(one).splitlines() if line.startswith("triton")]
    assert line.split()[-1] == "valid"


def test_every_figure_of_a_row_is_joined() -> None:
    """A column that somebody adds is a median too, without a word about it here."""
    assert {"response_time_p95_ms", "images_per_s", "memory_gb", "cold_start_s", "capacity_per_s"} <= {
        *FIGURES
    }
    assert not {"replies", "load", "max_batch_size"} & {*FIGURES}


def test_nobody_wins_within_the_noise() -> None:
    """Intervals that overlap have no best between them; those that do not, have."""
    apart = shown([*replicates("triton", CLOSE), *replicates("fastapi", CLEAR)])
    assert {"*9.00", "*100.0"} <= set(apart.split())
    near = [1.01 * factor for factor in CLOSE]
    for others in (near, (0.5, 2.0, 1.5)):
        text = shown([*replicates("triton", CLOSE), *replicates("fastapi", others, repeats=len(others))])
        assert not re.search(r"\*\d", text)
    assert not re.search(r"\*\d", shown([*replicates("triton", CLOSE), *replicates("fastapi", CLOSE)]))


def test_one_repeat_each_crowns_nobody() -> None:
    """Of two of which one replicate is left nobody knows how much they differ."""
    records = [
        *replicates("triton", CLOSE[:1], repeats=1),
        *replicates("fastapi", CLEAR[:1], repeats=1),
    ]
    text = shown(records)
    assert text.count("valid 1/1") == 2
    assert not re.search(r"\*\d", text)


def test_a_row_is_as_bad_as_its_worst_replicate() -> None:
    """It says how many may be believed, which one may not and why, and does not race."""
    records = replicates("triton", CLOSE)
    records[2] |= {"validity": "unstable", "reason": "p95 drifts"}
    records[2]["response_time_ms"] = {**records[2]["response_time_ms"], "p95": 900.0}
    text = shown([*records, *replicates("fastapi", CLEAR)])
    (line,) = [line for line in text.splitlines() if line.startswith("triton")]
    assert line.split()[-2:] == ["valid", "4/5"]
    assert (
        "unstable: test_speed triton onnx, batch 8, 1 per request, 16 in flight, repeat 3: p95 drifts" in text
    )
    assert not re.search(r"\*\d", text)
    row = joined_rows(records)[0]
    assert row.validity == Validity.UNSTABLE
    assert row.response_time_p95_ms == pytest.approx(9.045), "what may not be believed is in no median"
    assert not row.is_believed


def test_a_repeat_that_left_no_record_is_missing() -> None:
    """Four of five that are valid are not five: the row says so, and does not race."""
    text = shown([*replicates("triton", CLOSE[:4]), *replicates("fastapi", CLEAR)])
    assert "valid 4/5" in text
    assert (
        "missing: test_speed triton onnx, batch 8, 1 per request, 16 in flight: 4 of 5 repeats were measured"
    ) in text.splitlines()
    assert not re.search(r"\*\d", text)


def test_the_gravest_word_of_the_gate_stands() -> None:
    """One replicate that breaches a limit is a case that does; the line says which."""
    records = replicates("triton", CLOSE)
    passed = Verdict(judgement=Judgement.PASS)
    for record in records:
        record["verdict"] = {"judgement": str(passed.judgement), "reason": "", "breaches": []}
    (breach,) = BREACH.breaches
    failed = {"judgement": "fail", "reason": "", "breaches": [{"sentence": breach.sentence}]}
    records[1]["verdict"] = failed
    text = shown(records)
    assert "valid 5/5, fail" in text
    assert f"16 in flight, repeat 2: {breach.sentence}" in text
    assert text.count("breach: ") == 1


def test_an_attached_server_has_no_interval() -> None:
    """Its repeats asked one start of it, so nothing is known of another; nobody wins over it either."""
    text = shown([*replicates("triton", CLOSE, restarted=False), *replicates("fastapi", CLEAR)])
    (line,) = [line for line in text.splitlines() if line.startswith("triton")]
    assert line.split().count("n/a") >= 2
    assert (
        "no interval: triton was not restarted, so nothing tells how its starts differ" in text.splitlines()
    )
    assert not re.search(r"\*\d", text)


def test_searches_are_told_repeat_by_repeat() -> None:
    """The column is the median; each search has its line."""
    records = []
    for repeat, held in enumerate((100.0, 135.0, 128.0), start=1):
        case = replace(made_up_case(), repeat=repeat, objective=DEFAULT_OBJECTIVE)
        result = made_up_result(case=case, capacity=made_up_capacity(held))
        record = make_record(result, plan={**SETTINGS, "repeats": 3}, machine=MACHINE)
        records.append({**record, "benchmark": "test_capacity", "test": f"t.py::t[{case.id}]"})
    text = shown(records)
    assert joined_rows(records)[0].capacity_per_s == 128.0
    assert [f", repeat {n}: last pass {held}/s" in text for n, held in ((1, 100), (2, 135), (3, 128))] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan(stacks=("a", "b")), ""),
        (Plan(stacks=("a",), repeats=5), "5, each with a server started anew"),
        (Plan(stacks=("a", "b"), repeats=3), "3, each with a server started anew: a b, a b, ..."),
        (
            Plan(stacks=("a",), repeats=2, attached={"a": "http://h:1"}),
            "2, each with a server started anew; a runs already and is not restarted",
        ),
    ],
)
def test_the_header_says_what_is_repeated_and_in_which_order(plan: Plan, text: str) -> None:
    """Nothing where nothing is; the turns of several stacks; what cannot be restarted."""
    assert repeats_text(plan) == text
