"""Serving efficiency in whole sessions: in the record, in the table, and left out where nobody wants it."""

from __future__ import annotations

import pytest

from tests import echo_stack
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite with a benchmark of the stack echo."""
    written = echo_suite(pytester, monkeypatch)
    written.write()
    return written


def test_it_is_recorded_and_shown(suite: EchoSuite) -> None:
    """Images a second served, over those of the model in process."""
    result = suite.run("--stack=echo", ONNX)
    (record,) = suite.records.values()
    assert record["raw"]["images_per_s"] == 400.0
    assert (record["raw"]["batch_size"], record["raw"]["batches"]) == (1, 5)
    assert record["serving_efficiency"] == pytest.approx(record["images_per_s"] / 400.0)
    assert record["serving_efficiency_absent"] == ""
    result.stdout.fnmatch_lines(["*effi-*", "*ciency*", f"*{record['serving_efficiency']:.2f}*"])


def test_it_can_be_left_out(suite: EchoSuite) -> None:
    """Then nothing is computed, the record says so, and the table has no column for it."""
    result = suite.run("--stack=echo", ONNX, "--no-serve-raw")
    (record,) = suite.records.values()
    assert record["raw"]["images_per_s"] is None
    assert record["serving_efficiency"] is None
    assert record["serving_efficiency_absent"] == record["raw"]["absent"] == "it was left out"
    result.stdout.no_fnmatch_line("*ciency*")


def test_an_open_loop_has_none(suite: EchoSuite) -> None:
    """A rate that was chosen says nothing of what the server can do; the baseline is there all the same."""
    suite.run("--stack=echo", ONNX, "--serve-arrivals=constant:40")
    (record,) = suite.records.values()
    assert record["raw"]["images_per_s"] == 400.0
    assert record["serving_efficiency"] is None
    assert record["serving_efficiency_absent"].startswith("the rate of requests was chosen")


def test_short_loads_compute_nothing(suite: EchoSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --benchmark-disable only what serves is tried out."""
    monkeypatch.setattr(echo_stack, "echo_computed", lambda *_: pytest.fail("the model was computed"))
    suite.run("--stack=echo", ONNX, "--benchmark-disable").assert_outcomes(passed=2)
