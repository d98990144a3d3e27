"""The options of a comparison, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeLimit, GateSettings, Severity
from pytest_servebench.errors import PlanError
from pytest_servebench.options.gate import parse_gate
from pytest_servebench.options.given import Given
from tests.asking import plan


def test_without_a_baseline_nothing_is_compared() -> None:
    """Nobody who measures for the first time meets the gate."""
    assert plan().gate is None
    assert (plan(baseline="none").gate, plan(baseline="none").repeats) == (None, 1)
    assert plan(baseline="none", fail="p95:10%", inconclusive="warn").gate is None


def test_a_baseline_alone_has_the_default_limits() -> None:
    """And ten repeats."""
    assert plan(baseline="main").gate == GateSettings(baseline="main", limits=DEFAULT_LIMITS)
    assert plan(baseline="main").repeats == 10
    assert plan(baseline="main", repeats="3").repeats == 3


def test_every_option_reaches_the_gate() -> None:
    """Limits, severity and what may differ."""
    given = plan(
        baseline="main", fail="p95:10%,p99:20%:5", inconclusive="fail", allow_different="cpu, versions.torch"
    )
    assert given.gate == GateSettings(
        baseline="main",
        limits=(ChangeLimit(figure="p95", share=0.1), ChangeLimit(figure="p99", share=0.2, floor=5.0)),
        inconclusive=Severity.FAIL,
        allowed=frozenset({"cpu", "versions.torch"}),
    )


def test_a_path_is_relative_to_where_it_is_written() -> None:
    """A name is a name everywhere."""
    for text, baseline in (("runs/a.json", "/there/runs/a.json"), ("/a.json", "/a.json"), ("main", "main")):
        asked = {"baseline": Given(flag="--serve-baseline", text=text, base=Path("/there"))}
        gate = parse_gate(asked)
        assert gate is not None
        assert gate.baseline == baseline


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"fail": "p95:10%"}, "--serve-fail is about a comparison with a baseline, and none is given"),
        ({"inconclusive": "warn"}, "--serve-inconclusive is about a comparison"),
        ({"allow_different": "cpu"}, "--serve-allow-different is about a comparison"),
        ({"baseline": " "}, "--serve-baseline has an empty value"),
        ({"baseline": "main", "fail": "p96:10%"}, r"--serve-fail does not know the figure 'p96'"),
        ({"baseline": "none", "fail": "p95"}, "--serve-fail has no limit in 'p95'"),
        ({"baseline": "main", "inconclusive": "warm"}, r"does not know 'warm': did you mean warn\?"),
        ({"baseline": "main", "allow_different": "gpus"}, r"does not know 'gpus': did you mean gpu\?"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, Any], message: str) -> None:
    """A limit that never holds is worse than none: who set it believes in it."""
    with pytest.raises(PlanError, match=message) as caught:
        plan(**asked)
    assert caught.value.next_step
