"""Findings as lines and as Markdown, and the reference's table beside one's own."""

from __future__ import annotations

import json

import pytest

from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports.findings import Findings, findings_lines, findings_markdown, findings_of
from pytest_servebench.reports.reference import REFERENCE, beside_reference, reference_table
from tests.found_records import found_record, found_replicates

REPEATED = [
    *found_replicates(250, batch=8),
    *found_replicates(100, batch=1),
    *found_replicates(90, batch=8, model_format=ModelFormat.PYTORCH),
]


def test_the_terminal_has_the_best_and_the_answers() -> None:
    """Answered claims have a sentence each; those that are open share one."""
    lines = findings_lines(findings_of(REPEATED), width=1000, colour=False)
    assert [line.partition(":")[0] for line in lines] == [
        "Most images/s",
        "Lowest p95",
        "confirmed",
        "refuted",
        "confirmed",
    ]
    assert lines[2].startswith(
        "confirmed: dynamic batching gives 2 to 3 times the throughput: triton onnx, max batch 8 against 1,"
        " 16 in flight: 2.50 times, "
    )
    once = findings_lines(findings_of([r for r in REPEATED if r["repeat"] == 1]), width=1000, colour=False)
    assert once == []
    alone = [found_record(200, batch=8), found_record(100, batch=1)]
    (open_ones,) = findings_lines(findings_of(alone), width=1000, colour=False)
    assert open_ones.startswith(
        "not measurable here: dynamic batching gives 2 to 3 times the throughput (seen: 2.00 times); "
    )
    assert open_ones.endswith("repeat them with --serve-repeats=5")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lines_keep_to_their_width(width: int) -> None:
    """Sentences are wrapped, not cut."""
    found = findings_of(REPEATED)
    lines = findings_lines(found, width=width, colour=False)
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    assert words == " ".join(findings_lines(found, width=1000, colour=False)).split()


def test_colour_is_only_added() -> None:
    """An answer is a word with or without it."""
    found = findings_of(REPEATED)
    assert any("\x1b[" in line for line in findings_lines(found, width=100, colour=True))
    assert not any("\x1b[" in line for line in findings_lines(found, width=100, colour=False))


def test_nothing_compared_is_no_line() -> None:
    """A suite of one case has no findings at its end."""
    assert findings_lines(findings_of([found_record(in_flight=1)]), width=100, colour=False) == []
    assert findings_lines(Findings(), width=100, colour=False) == []


def test_markdown_has_every_part() -> None:
    """Winners with intervals, trade-offs, all four claims, each case's limit; what is missing is said."""
    text = findings_markdown(findings_of(REPEATED))
    for words in (
        "## Findings\n\n- Most images/s: triton onnx, max batch 8",
        "| highest throughput | triton onnx: 250 images/s | 2",
        "| triton pytorch | 178% | certain |",
        "| dynamic batching gives 2 to 3 times the throughput | **confirmed** | triton onnx, max batch 8 ",
        "| the best batch is 16 to 32 | **not measurable here** | no stack was measured with a max batch ",
        "- test\\_throughput triton onnx, batch 8, 1 per request, 16 in flight: not known: ",
    ):
        assert words in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4, 7}
    nothing = findings_markdown(findings_of([]))
    assert "None: no two cases that were asked alike may be believed." in nothing
    assert nothing.count("not measurable here") == 4


def test_the_reference_stands_beside_the_best_of_each_stack() -> None:
    """The row with most images/s; of what was not measured it is said, and nothing is called better."""
    records = [
        found_record(50, in_flight=1),
        found_record(60, batch=32, in_flight=64),
        found_record(70, batch=8, in_flight=64, validity="unstable"),
        found_record(40, stack="fastapi", model="efficientnet_lite0"),
    ]
    records[3]["case"] = {**records[3]["case"], "model": "efficientnet_lite0"}
    fastapi, triton, torchserve = beside_reference(records)
    assert [each.reference for each in (fastapi, triton, torchserve)] == list(REFERENCE)
    assert triton.own is not None
    assert triton.own.images_per_s == 60
    assert triton.case == "triton onnx, max batch 32, 64 in flight"
    assert fastapi.absent == "only efficientnet_lite0 was measured, not resnet50"
    assert torchserve.absent == "not measured"
    table = reference_table(records)
    lines = [" | ".join(line) for line in table.lines]
    assert "triton | the reference, on an RTX 4090 | 5 | 8 | 5,200 | 89 | 1.8 | 32" in lines
    yours = "triton | yours: triton onnx, max batch 32, 64 in flight | 5.50 | 9.00 | 60.0 | n/a | "
    assert any(line.startswith(yours) for line in lines)
    assert "Neither is a measure for the other." in table.words
    text = "\n".join([table.words, *lines])
    assert not any(word in text for word in ("better", "worse", "faster", "slower"))


def test_findings_survive_what_a_file_has() -> None:
    """Records that went through JSON give the same findings; those of a baseline tell too little for any."""
    assert findings_of(json.loads(json.dumps(REPEATED))) == findings_of(REPEATED)
    cut = [{key: value for key, value in one.items() if key != "telemetry"} for one in REPEATED]
    assert findings_of(cut) == findings_of([])
