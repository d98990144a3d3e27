"""What the gate says: a line for each finding, one for each shared doubt, and the sum."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.changes import Change, ChangeVerdict, Doubt, GateSettings, Severity
from pytest_servebench.comparison.fail_limits import parse_limits
from pytest_servebench.comparison.regression import failing
from pytest_servebench.reports.gate import gate_header, gate_lines

REGRESSION, IMPROVEMENT, PASS = ChangeVerdict.REGRESSION, ChangeVerdict.IMPROVEMENT, ChangeVerdict.PASS


def change(verdict: ChangeVerdict, case: str = "t[a]", figure: str = "p95", **more: Any) -> Change:
    """Return a change with figures, unless it has none."""
    figures: dict[str, Any] = {"baseline": 40.0, "now": 48.0, "change": 0.2, "interval": (0.1, 0.3)}
    given = {**figures, "limit": 0.05, "p_value": 0.004, "replicates": (5, 5), **more}
    return Change(case=case, figure=figure, unit="ms", verdict=verdict, **given)


def doubt(kind: Doubt, case: str = "t[a]", figure: str = "p95", reason: str = "because") -> Change:
    """Return a change that is inconclusive."""
    return change(ChangeVerdict.INCONCLUSIVE, case, figure, doubt=kind, reason=reason, remedy="do this")


def lines(*changes: Change, severity: Severity = Severity.AUTO, not_asked: int = 0) -> list[tuple[str, str]]:
    """Return text and colour of each line."""
    told = gate_lines(changes, failing(changes, severity), baseline="main", not_asked=not_asked)
    return [(line.text, line.colour) for line in told]


def test_regressions_come_first_and_what_passed_is_counted() -> None:
    """Red, green, yellow, then the sum in the colour of the worst."""
    told = lines(change(PASS), change(IMPROVEMENT), doubt(Doubt.NOISE), change(REGRESSION), change(PASS))
    assert [text.partition(":")[0] for text, _ in told[:3]] == ["regression", "improvement", "inconclusive"]
    assert [colour for _, colour in told] == ["red", "green", "yellow", "red"]
    assert told[-1][0] == (
        "servebench gate: 1 regression, 1 improvement, 1 inconclusive (0 of them fail), 2 passed, "
        "of 5 figures compared with main: failed"
    )
    assert "40.0 -> 48.0 ms, +20% [+10%, +30%], limit +5%" in told[0][0] or "40 -> 48 ms" in told[0][0]


@pytest.mark.parametrize(
    ("changes", "severity", "end", "colour"),
    [
        ((PASS,), Severity.AUTO, "1 passed, of 1 figure compared with main", "green"),
        ((Doubt.NOISE,), Severity.AUTO, "1 figure compared with main", "yellow"),
        ((Doubt.NOISE,), Severity.FAIL, "1 figure compared with main: failed", "red"),
        ((Doubt.MISSING,), Severity.AUTO, "1 figure compared with main: failed", "red"),
        ((Doubt.MISSING,), Severity.WARN, "1 figure compared with main", "yellow"),
    ],
)
def test_the_sum_has_the_colour_of_the_exit_code(
    changes: tuple[Any, ...], severity: Severity, end: str, colour: str
) -> None:
    """Whoever reads one line only sees whether the session failed."""
    made = [doubt(each) if isinstance(each, Doubt) else change(each) for each in changes]
    text, seen = lines(*made, severity=severity)[-1]
    assert text.endswith(end)
    assert seen == colour


def test_changes_that_are_doubtful_for_one_reason_share_a_line() -> None:
    """Another CPU makes one line, not two for each of 24 cases; three cases are named."""
    made = [
        doubt(Doubt.DIFFERENT, f"t[{case}]", figure) for case in "abcde" for figure in ("p95", "throughput")
    ]
    told = lines(*made, doubt(Doubt.DIFFERENT, "t[z]", reason="else"))
    assert [text for text, _ in told[:-1]] == [
        "inconclusive: t[a], t[b], t[c] and 2 more cases: p95, throughput: because; do this",
        told[1][0],
    ]
    assert told[1][0].startswith("inconclusive: t[z]: p95")
    noise = [doubt(Doubt.NOISE, f"t[{case}]") for case in "ab"]
    assert len(lines(*noise)) == 3


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "servebench gate: 1 case of the baseline was not asked for"),
        (7, "servebench gate: 7 cases of the baseline were not asked for"),
    ],
)
def test_what_was_not_asked_for_is_told_in_one_line(count: int, text: str) -> None:
    """A part of a baseline may be compared, and nobody takes it for the whole."""
    assert lines(change(PASS), not_asked=count)[-1] == (text, "")
    assert len(lines(change(PASS))) == 1


def test_a_regression_on_a_busy_machine_asks_whether_it_was_the_machine() -> None:
    """Warnings stand far above a regression that they may explain, so it points to them; a pass does not."""
    question = "servebench gate: 3 measurements had warnings, above: was it the machine?"
    told = [
        [line.text for line in gate_lines(each, (), baseline="main", not_asked=0, warned=3)]
        for each in ([change(REGRESSION)], [change(PASS)])
    ]
    assert [question in lines for lines in told] == [True, False]


def test_the_header_says_what_holds() -> None:
    """Baseline, limits, what doubts do, and what may differ."""
    settings = GateSettings(
        baseline="main",
        limits=parse_limits("p95:10%,p99:20%:5ms", flag="", where=""),
        inconclusive=Severity.WARN,
        allowed=frozenset({"versions", "cpu"}),
    )
    assert gate_header(settings, "main (promoted 2026-11-20, 5 repeats, 24 cases)") == [
        "servebench baseline: main (promoted 2026-11-20, 5 repeats, 24 cases)",
        (
            "servebench limits: p95:10%,p99:20%:5ms; what is inconclusive does not fail (warn)"
            "; may differ: cpu, versions"
        ),
    ]
