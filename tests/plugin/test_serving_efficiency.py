"""Serving efficiency in whole sessions: in the record, in the table, and left out where nobody wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_servebench.plan import Deployment
from tests import echo_stack
from tests.echo_stack import echo_computed
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


def test_a_replicate_has_its_own(suite: EchoSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is computed once for each repeat, with the sizes of that repeat's cases."""
    told: list[Any] = []

    def computed(deployment: Deployment, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        told.append(asked["batch_sizes"])
        answers = echo_computed(deployment, asked)
        return [{**each, "images_per_s": 400.0 * len(told)} for each in answers]

    monkeypatch.setattr(echo_stack, "echo_computed", computed)
    suite.run("--stack=echo", ONNX, "--serve-batch-size=1,2", "--serve-repeats=2")
    raw = {name: record["raw"]["images_per_s"] for name, record in suite.records.items()}
    assert told == [(1, 2), (1, 2)]
    assert {name[-3:]: value for name, value in raw.items()} == {"-r1": 400.0, "-r2": 800.0}
    assert len(raw) == 4
