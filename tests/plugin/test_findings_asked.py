"""Whole sessions with tests that ask what was found: when they run, and what they are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.echo_suite import ONNX, EchoSuite, echo_suite

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ASKS = """
import pytest

def test_claims(servebench_findings):
    claim = servebench_findings.claim("dynamic-batching")
    print(f"claim: {claim.answer}: {claim.reason}")

@pytest.mark.servebench(concurrency=4, arrivals="closed", batch_sizes=(1, 4), quick={"concurrency": 2})
def test_sizes(servebench, case):
    servebench.measure(case)
"""
SIZES = "--serve-batch-size=1,4"
"""Over that of the brief suite, which narrows a marker's."""


KNOWN = """
def pytest_servebench_update_record(record):
    record |= {"validity": "valid", "reason": ""}
    start = 1 + (record["case"]["repeat"] or 0) / 1000
    record["images_per_s"] = start * (110 if record["case"]["max_batch_size"] > 1 else 100)
"""
"""A machine on which a larger batch serves 1.1 times as much, give or take a start, and nothing disturbs."""
FEW = ("--serve-batch-size=1,8", "--serve-concurrency=8", "-v")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> EchoSuite:
    """Return an empty suite."""
    return echo_suite(pytester, monkeypatch)


def shipped(suite: EchoSuite) -> None:
    """Put the shipped benchmark of findings into the suite, beside a conftest with an echo stack."""
    suite.write(more=KNOWN)
    suite.pytester.path.joinpath("test_it.py").unlink()
    shutil.copy(BENCHMARKS / "test_findings.py", suite.pytester.path)


def test_who_asks_for_findings_comes_after_all_others(suite: EchoSuite) -> None:
    """It stands first in its file and runs last, of every repeat, and is told what they measured."""
    suite.write(test=ASKS, more=KNOWN)
    result = suite.run("--stack=echo", ONNX, SIZES, "--serve-repeats=2", "-v", "-s")
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_sizes[[]echo-onnx-tensor-http-b4-i1-c4-r2] *",
            "test_it.py::test_claims *claim: * echo onnx, max batch 4 against 1, 4 in flight: * times, *",
            "=* servebench *=",
            "*dynamic batching gives 2 to 3 times the throughput*",
        ]
    )


def test_a_quick_run_asks_what_the_marker_has_for_it(suite: EchoSuite) -> None:
    """``quick=`` stands in for the marker's own words in a quick run only."""
    suite.write(test=ASKS)
    for arguments, in_flight in (((), 4), (("--serve-quick",), 2)):
        result = suite.run("--stack=echo", ONNX, SIZES, "--collect-only", "-q", *arguments)
        result.stdout.fnmatch_lines([f"test_it.py::test_sizes[[]echo-onnx-tensor-http-b1-i1-c{in_flight}]"])


def test_the_shipped_questions_are_answered_without_red(suite: EchoSuite) -> None:
    """With repeats one that fails is an expected failure, and one that nothing tells of is skipped."""
    shipped(suite)
    result = suite.run("--stack=echo", *FEW, "--serve-repeats=2", "-rxs")
    result.stdout.fnmatch_lines(
        [
            "test_findings.py::test_does_dynamic_batching_pay XFAIL *",
            "test_findings.py::test_is_onnx_faster_than_pytorch SKIPPED *",
            "test_findings.py::test_is_the_best_batch_16_to_32 SKIPPED *",
            "test_findings.py::test_what_is_the_bottleneck SKIPPED *",
            "refuted: dynamic batching gives 2 to 3 times the throughput: echo onnx, *: 1.10 times, *",
            "XFAIL*test_does_dynamic_batching_pay - refuted: dynamic batching *",
            "SKIPPED*not measurable here: no stack was measured with formats onnx and *",
        ]
    )


def test_without_repeats_every_claim_is_skipped(suite: EchoSuite) -> None:
    """A skip says what was seen, and how to get an answer."""
    shipped(suite)
    result = suite.run("--stack=echo", *FEW, "-rs")
    assert result.parseoutcomes()["skipped"] == 4
    result.stdout.fnmatch_lines(["SKIPPED*not measurable here: echo onnx, max batch 8 *--serve-repeats=5"])


def test_a_refuted_claim_is_seen_and_not_red(suite: EchoSuite) -> None:
    """It is an expected failure that names its figures; the session passes."""
    suite.write(
        test="""
        from test_findings import answer
        from pytest_servebench import Answer, Claim

        def test_claim():
            answer(Claim(name="a", text="a claim", answer=Answer.REFUTED, reason="1.1 times"))
        """
    )
    shutil.copy(BENCHMARKS / "test_findings.py", suite.pytester.path)
    result = suite.run("test_it.py", "-rx")
    result.assert_outcomes(xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["XFAIL test_it.py::test_claim - refuted: a claim: 1.1 times"])


def test_without_a_stack_nobody_asks(suite: EchoSuite) -> None:
    """A suite without a stack leaves them out like every benchmark, and says how to choose."""
    shipped(suite)
    result = suite.run()
    result.assert_outcomes(deselected=5)
    result.stdout.fnmatch_lines(["servebench: 5 benchmarks were not run, because no stack was chosen.*"])


def test_workers_leave_the_answer_to_the_report(suite: EchoSuite) -> None:
    """With ``-n`` no worker has all records: the test is skipped and says where the findings stand."""
    suite.write(test=ASKS, more=KNOWN)
    result = suite.run_apart("--stack=echo", ONNX, SIZES, "--serve-repeats=2", "-n2", "-rs")
    assert result.parseoutcomes()["skipped"] == 1
    result.stdout.fnmatch_lines(
        [
            "*dynamic batching gives 2 to 3 times the throughput*",
            "SKIPPED*with -n no worker has all records: the findings are told below the table",
        ]
    )


@pytest.mark.parametrize(("option", "outcomes"), [("only", {"passed": 3}), ("skip", {"skipped": 3})])
def test_they_count_as_benchmarks(suite: EchoSuite, option: str, outcomes: dict[str, int]) -> None:
    """``--benchmark-only`` keeps who asks for findings, ``--benchmark-skip`` leaves it out."""
    suite.write(test=ASKS)
    result = suite.run("--stack=echo", ONNX, SIZES, f"--benchmark-{option}")
    result.assert_outcomes(**outcomes)


@pytest.mark.parametrize(
    ("quick", "message"),
    [
        ("{'repeats': 3}", "the marker servebench has a wrong quick: {'repeats': 3}"),
        ("2", "the marker servebench has a wrong quick: 2"),
        ("{'concurrency': 0}", "the marker servebench has a wrong concurrency: 0"),
    ],
)
def test_a_wrong_quick_is_an_error_that_says_what_is_allowed(
    suite: EchoSuite, quick: str, message: str
) -> None:
    """A marker's mistake is found when tests are collected."""
    suite.write(test=ASKS.replace('{"concurrency": 2}', quick))
    result = suite.run("--stack=echo", ONNX, "--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*{message.replace('[', '[[]')}*", "*next: give *"])
