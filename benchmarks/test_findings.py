"""Do the reference's claims hold here? Asked after all other benchmarks, of what this session measured.

A claim that is confirmed passes, one that is refuted is an expected failure (``xfailed``, and nothing turns
red: a finding is no fault), and one that cannot be measured here is skipped; each with its figures.
With ``--serve-repeats=5`` there are intervals, and without repeats there is no answer.
"""

from __future__ import annotations

import pytest

from pytest_servebench import Answer, Case, Claim, Findings, Servebench


@pytest.mark.servebench(
    concurrency=64,
    arrivals="closed",
    batch_sizes=(1, 8, 16, 32),
    formats=("onnx",),
    quick={"concurrency": 16, "batch_sizes": (1,)},
)
def test_batch_sizes(servebench: Servebench, case: Case) -> None:
    """How does throughput grow with the max batch size, under one load that fills the largest?

    The quick form measures the smallest alone, under the load that test_throughput gives to a batch of 8.
    """
    servebench.measure(case)


def test_does_dynamic_batching_pay(servebench_findings: Findings) -> None:
    """Is throughput 2 to 3 times that of max batch 1, under the same load?"""
    answer(servebench_findings.claim("dynamic-batching"))


def test_is_onnx_faster_than_pytorch(servebench_findings: Findings) -> None:
    """Does a stack serve 15 to 20% more images/s from ONNX than from TorchScript?"""
    answer(servebench_findings.claim("onnx-faster"))


def test_is_the_best_batch_16_to_32(servebench_findings: Findings) -> None:
    """Does a max batch size from 16 to 32 serve more images/s than every other?"""
    answer(servebench_findings.claim("best-batch"))


def test_what_is_the_bottleneck(servebench_findings: Findings) -> None:
    """Is it the computation: does it take, with waiting for it, more than half of a request's time?"""
    answer(servebench_findings.claim("bottleneck"))


def answer(claim: Claim) -> None:
    """End the test as the claim is answered, with its figures."""
    if claim.answer is Answer.NOT_MEASURABLE:
        pytest.skip(f"{claim.answer}: {claim.reason}")
    if claim.answer is Answer.REFUTED:
        pytest.xfail(f"{claim.answer}: {claim.text}: {claim.reason}")
    assert claim.answer is Answer.CONFIRMED, claim.reason
