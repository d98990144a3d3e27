"""Each change is one line that can be read: numbers of three digits, signs, the limit, and what to do."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt
from pytest_servebench.comparison.regression import sentence
from pytest_servebench.comparison.sentences import percent

TEST = "benchmarks/test_latency.py::test_latency[triton-onnx-tensor-http-b8-i1-c1]"


def change(**given: Any) -> Change:
    """Return a regression of p95 but for what is given."""
    usual: dict[str, Any] = {
        "case": TEST,
        "figure": "p95",
        "unit": "ms",
        "verdict": ChangeVerdict.REGRESSION,
        "baseline": 41.2,
        "now": 47.9,
        "change": 0.1626,
        "interval": (0.121, 0.198),
        "limit": 0.05,
        "p_value": 1 / 252,
        "replicates": (5, 5),
    }
    return Change(**{**usual, **given})


def test_a_regression_is_one_whole_line() -> None:
    """Case, metric, baseline, now, change, interval, limit, replicates and p, in this order."""
    assert sentence(change()) == (
        f"regression: {TEST}: p95 41.2 -> 47.9 ms, +16.3% [+12.1%, +19.8%], limit +5%, 5 v 5 repeats, p 0.004"
    )


def test_less_throughput_has_its_sign() -> None:
    """The limit has the sign of what is worse."""
    less = change(
        figure="throughput", unit="images/s", baseline=210.0, now=184.8, change=-0.12, interval=(-0.14, -0.1)
    )
    assert sentence(less).endswith(
        "throughput 210 -> 185 images/s, -12% [-14%, -10%], limit -5%, 5 v 5 repeats, p 0.004"
    )


def test_what_is_inconclusive_says_why_and_what_to_do() -> None:
    """The doubt follows the numbers, the remedy the doubt."""
    line = sentence(
        change(
            verdict=ChangeVerdict.INCONCLUSIVE,
            doubt=Doubt.TOO_FEW,
            reason="3 v 3 repeats give no p below 0.05",
            remedy="give --serve-repeats=4",
            interval=None,
            replicates=(3, 3),
            p_value=0.05,
        )
    )
    assert line == (
        f"inconclusive: {TEST}: p95 41.2 -> 47.9 ms, +16.3%, limit +5%, 3 v 3 repeats, p 0.05:"
        " 3 v 3 repeats give no p below 0.05; give --serve-repeats=4"
    )


def test_what_is_missing_is_not_a_number() -> None:
    """A side without the case is n/a, and there is no change to tell."""
    line = sentence(
        change(
            verdict=ChangeVerdict.INCONCLUSIVE,
            doubt=Doubt.MISSING,
            reason="the run has no such case",
            now=None,
            change=None,
            interval=None,
            p_value=None,
            replicates=(5, 0),
        )
    )
    assert line == (
        f"inconclusive: {TEST}: p95 41.2 -> n/a ms, limit +5%, 5 v 0 repeats: the run has no such case"
    )


def test_what_is_not_limited_has_neither_limit_nor_p() -> None:
    """Nobody asked for a verdict: the line holds no evidence for one."""
    line = sentence(change(verdict=ChangeVerdict.NOT_LIMITED, limit=None))
    assert line == f"not limited: {TEST}: p95 41.2 -> 47.9 ms, +16.3% [+12.1%, +19.8%], 5 v 5 repeats"


def test_what_improved_has_no_p() -> None:
    """The p-value is of a change for the worse: close to 1 there, it would read as doubt."""
    line = sentence(change(verdict=ChangeVerdict.IMPROVEMENT, now=36.0, change=-0.126, p_value=0.996))
    assert line.endswith("limit +5%, 5 v 5 repeats")


@pytest.mark.parametrize(
    ("baseline", "now", "shown"),
    [
        (0.01234, 0.0235, "0.0123 -> 0.0235 ms"),
        (1.0, 2.0, "1 -> 2 ms"),
        (12345.6, 999.7, "12346 -> 1000 ms"),
        (41.2, 41.2, "41.2 -> 41.2 ms"),
        (41.21, 41.24, "41.21 -> 41.24 ms"),
        (1234.1, 1234.4, "1234.1 -> 1234.4 ms"),
    ],
)
def test_numbers_have_the_digits_that_count(baseline: float, now: float, shown: str) -> None:
    """Three digits, more where it takes them to see a difference, and no powers of ten."""
    assert f": p95 {shown}, " in sentence(change(baseline=baseline, now=now))


def test_a_figure_without_unit_has_none() -> None:
    """Efficiency is a bare number."""
    assert "efficiency 0.8 -> 0.7, -12.5%" in sentence(
        change(figure="efficiency", unit="", baseline=0.8, now=0.7, change=-0.125)
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.1626, "+16.3%"), (-0.12, "-12%"), (0.0, "0%"), (-0.0001, "0%"), (2.5, "+250%"), (-0.0049, "-0.5%")],
)
def test_shares_have_a_sign_and_one_decimal(share: float, text: str) -> None:
    """A share that rounds to nothing is neither plus nor minus."""
    assert percent(share) == text


@pytest.mark.parametrize(("limit", "text"), [(0.05, "+5%"), (0.0025, "+0.25%"), (0.07, "+7%"), (0.0, "+0%")])
def test_a_limit_is_told_as_it_was_given(limit: float, text: str) -> None:
    """A limit is not rounded."""
    assert f"limit {text}, " in sentence(change(limit=limit))


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0159, "p 0.016"), (0.00001, "p below 0.0001"), (1.0, "p 1"), (0.5, "p 0.5")]
)
def test_a_p_is_told_to_two_digits(p_value: float, text: str) -> None:
    """And none is told to be zero."""
    assert sentence(change(p_value=p_value)).endswith(text)


def test_p_is_said_once() -> None:
    """Where the reason of a doubt names it, the figures do not."""
    why = "beyond the limit, but its p of 0.35 is not below 0.05, so that it may be chance"
    noise: dict[str, Any] = {"verdict": ChangeVerdict.INCONCLUSIVE, "doubt": Doubt.NOISE, "p_value": 0.35}
    assert "p 0.35" not in sentence(change(**noise, reason=why))
    assert "p 0.35" in sentence(change(**noise, reason="it does not survive the correction"))
