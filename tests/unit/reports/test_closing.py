"""The last word of a session, at any width and as quiet as asked."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_servebench.reports.case_words import case_words, duration_words
from pytest_servebench.reports.closing import WIDTH_OF_A_FILE, Paper, closing_lines
from pytest_servebench.reports.findings import findings_lines, findings_of
from pytest_servebench.reports.rendering import wrapped
from pytest_servebench.results import Telemetry, Validity
from tests.made_up import BREACH, made_up_case, made_up_result, wrong_result
from tests.unit.reports.test_terminal import FAST, record_of, two_stacks

WARNED = Telemetry(server_cpu_cores=1.5, warnings=("other programs used 1.9 of the 2 cores " + "x" * 90,))
MORE = ["dashboard: http://127.0.0.1:3000/d/servebench?from=1&to=2"]


def bad_and_good() -> list[dict[str, Any]]:
    """Return records of which one is unstable, one wrong, and one breaches a limit."""
    return [
        *two_stacks(telemetry=WARNED),
        record_of(
            made_up_result(
                FAST, case=made_up_case("echo"), validity=Validity.UNSTABLE, reason="p95 drifts by 60%"
            )
        ),
        record_of(wrong_result(made_up_case("torchserve"))),
        record_of(made_up_result(case=made_up_case("other")), BREACH),
    ]


def closing(verbosity: int, *, width: int | None = 200, colour: bool = False) -> list[str]:
    """Return how a session with faults closes."""
    paper = Paper(width=width, colour=colour)
    return closing_lines(bad_and_good(), paper, verbosity=verbosity, more=MORE)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("verbosity", [0, -1, -2])
@pytest.mark.parametrize("colour", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, verbosity: int, *, colour: bool) -> None:
    """A terminal breaks lines within words; so none is that long, but for a word that is longer itself."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in closing(verbosity, width=width, colour=colour)]
    assert [line for line in lines if len(line) > width and max(map(len, line.split())) < width] == []


def test_a_log_has_sentences_in_one_line() -> None:
    """What is searched for in a log is not broken."""
    records = two_stacks(telemetry=WARNED)[:1]
    (line,) = [
        line
        for line in closing_lines(records, Paper(width=None, colour=False), verbosity=0)
        if line.startswith("warning: ")
    ]
    assert len(line) > WIDTH_OF_A_FILE
    assert line.endswith("x")


def test_q_leaves_out_what_is_not_wrong() -> None:
    """With -q there are tables, doubts, breaches and what was found; no legend, warning or dashboard."""
    usual, quiet = closing(0), closing(-1)
    for word in ("* best of", "warning: ", "dashboard: "):
        assert any(line.startswith(word) for line in usual), word
        assert not any(line.startswith(word) for line in quiet), word
    for word in ("triton", "unstable: ", "wrong_output: ", "breach: "):
        assert any(line.startswith(word) for line in quiet), word
    assert len(quiet) < len(usual)
    assert not any(line.startswith("not shown") for line in closing(-1, width=60))


def test_qq_has_verdicts_only() -> None:
    """With -qq there is what is wrong, and how many cases have which verdict."""
    lines = closing(-2)
    assert [line.partition(":")[0] for line in lines] == ["unstable", "wrong_output", "breach", "servebench"]
    assert lines[-1] == "servebench: 5 cases: 2 valid; 1 unstable; 1 wrong_output; 1 valid, fail"


@pytest.mark.parametrize("verbosity", [0, -1])
def test_what_was_found_comes_last(verbosity: int) -> None:
    """Next to the prompt, where a person looks first."""
    found = findings_lines(findings_of(bad_and_good()), width=200, colour=False)
    assert found
    assert closing(verbosity)[-len(found) :] == found


def test_sentences_are_broken_between_words() -> None:
    """What goes on is indented; a path stays whole, and so does a line with colours."""
    assert wrapped(["one two three", "four"], 9) == ["one two", "  three", "four"]
    assert wrapped(["see /a/long/path/to-be-copied"], 10) == ["see", "  /a/long/path/to-be-copied"]
    assert wrapped(["\x1b[1mone two three\x1b[0m"], 9) == ["\x1b[1mone two three\x1b[0m"]
    assert wrapped([""], 9) == [""]


def test_a_case_in_a_line_of_a_log() -> None:
    """Its label, p95, images/s and verdict; what is missing is n/a, and a doubt has its reason."""
    assert case_words(two_stacks()[0]) == (
        "test_speed triton onnx, batch 8, 1 per request, 16 in flight: p95 9.00 ms, 200 images/s, valid"
    )
    assert case_words(record_of(wrong_result())).endswith(
        ": p95 n/a ms, n/a images/s, wrong_output: 7 of 8 answers differ from the reference"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_durations(seconds: float, words: str) -> None:
    """Minutes from the first one on."""
    assert duration_words(seconds) == words
