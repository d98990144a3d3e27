"""Each verdict, each doubt with its reason and its remedy, and what fails the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_servebench.comparison.changes import (
    DEFAULT_LIMITS,
    Change,
    ChangeLimit,
    ChangeVerdict,
    Doubt,
    Severity,
)
from pytest_servebench.comparison.regression import changes_of, failing
from pytest_servebench.errors import PlanError
from tests.compared import measured, repeated, words

P95 = (ChangeLimit(figure="p95", share=0.05),)
BEFORE = [41.0, 41.4, 41.2, 41.1, 41.3]
SLOWER = [47.9, 48.2, 47.5, 47.7, 48.0]
NOISY = [39.0, 52.0, 44.0, 46.0, 40.0]
Records = Sequence[dict[str, Any]]


def only(before: Records, now: Records, **rest: Any) -> Change:
    """Return the one change of p95 that there is."""
    (change,) = changes_of(before, now, limits=P95, **rest)
    return change


def test_a_slower_case_is_a_regression_and_says_by_how_much() -> None:
    """Every number of the line is there: medians, change, interval, limit, p and replicates."""
    change = only(repeated(BEFORE), repeated(SLOWER))
    assert change.verdict is ChangeVerdict.REGRESSION
    assert (change.baseline, change.now, change.unit) == (41.2, 47.9, "ms")
    assert change.change == pytest.approx(47.9 / 41.2 - 1)
    assert change.interval == pytest.approx((47.5 / 41.2 - 1, 48.0 / 41.1 - 1), abs=0.003)
    assert change.limit == 0.05
    assert change.p_value == pytest.approx(1 / 252)
    assert change.replicates == (5, 5)
    assert change.doubt is None
    assert change.reason == ""


def test_a_faster_case_is_an_improvement() -> None:
    """What became better is told, and fails nothing."""
    change = only(repeated(SLOWER), repeated(BEFORE))
    assert change.verdict is ChangeVerdict.IMPROVEMENT
    assert change.p_value == pytest.approx(1)
    assert failing([change], Severity.FAIL) == ()


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [(SLOWER, BEFORE, "regression"), (BEFORE, SLOWER, "improvement"), (BEFORE, BEFORE, "pass")],
)
def test_less_throughput_is_worse(before: list[float], now: list[float], verdict: str) -> None:
    """A figure of which more is better is judged the other way round."""
    sides = [repeated(side, figure="throughput") for side in (before, now)]
    assert words(changes_of(*sides, limits=DEFAULT_LIMITS[1:])) == [verdict]


def test_a_change_within_the_limit_passes_however_sure_it_is() -> None:
    """A significant change of 2% is not what a limit of 5% forbids."""
    change = only(repeated(BEFORE), repeated([value * 1.02 for value in BEFORE]))
    assert change.verdict is ChangeVerdict.PASS
    assert change.p_value == pytest.approx(1 / 252)


@pytest.mark.parametrize(("share", "verdict"), [(0.1, "pass"), (0.0999, "regression"), (0.0, "regression")])
def test_exactly_the_limit_is_allowed(share: float, verdict: str) -> None:
    """110 against 100 is ten per cent, whatever binary fractions make of it."""
    limits = [ChangeLimit(figure="p95", share=share)]
    sides = [repeated([at - 0.2, at - 0.1, at, at + 0.1, at + 0.2]) for at in (100.0, 110.0)]
    assert words(changes_of(*sides, limits=limits)) == [verdict]


@pytest.mark.parametrize(("floor", "verdict"), [(None, "pass"), (0.05, "regression"), (0.08, "pass")])
def test_a_change_below_the_floor_passes(floor: float | None, verdict: str) -> None:
    """A tenth of a millisecond is nothing to a user, though it be 10% of 0.8 ms; a floor given wins."""
    limits = [ChangeLimit(figure="p95", share=0.05, floor=floor)]
    sides = [repeated([at, at + 0.001, at + 0.002, at + 0.003, at + 0.004]) for at in (0.80, 0.88)]
    assert words(changes_of(*sides, limits=limits)) == [verdict]


def test_what_is_beyond_the_limit_by_chance_is_noise() -> None:
    """A change that may be chance is neither a regression nor a pass."""
    change = only(repeated(BEFORE), repeated(NOISY))
    assert (change.verdict, change.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.NOISE)
    assert change.reason == "beyond the limit, but its p of 0.35 is not below 0.05, so that it may be chance"
    assert change.remedy == "give --serve-repeats=10"


def test_among_many_comparisons_one_must_be_surer() -> None:
    """What is a regression by itself is noise among 30 cases of which one had to look like it."""
    before, now = [100.0, 102, 98, 105, 96], [106.0, 109, 104, 112, 105.5]
    assert only(repeated(before), repeated(now)).verdict is ChangeVerdict.REGRESSION
    others = [record for n in range(30) for record in repeated(before, case=f"other-{n}")]
    changes = changes_of([*repeated(before), *others], [*repeated(now), *others], limits=P95)
    assert words(changes) == ["noise"] + ["pass"] * 30
    assert changes[0].reason == (
        "beyond the limit, but it does not survive the correction for so many comparisons, so that it may be"
        " chance"
    )


STUCK = 8.0
"""How many times slower a run is in which somebody was in the way."""


@pytest.mark.parametrize("stuck_side", ["the baseline", "the run"])
def test_one_stuck_run_hides_no_regression(stuck_side: str) -> None:
    """The spread that it makes is no doubt of the other nine: a baseline with one would blind the gate."""
    ten = [*BEFORE, *BEFORE]
    before, now = ten.copy(), [value * 1.2 for value in ten]
    side = before if stuck_side == "the baseline" else now
    side[3] *= STUCK
    others = [record for n in range(30) for record in repeated(ten, case=f"other-{n}")]
    changes = changes_of([*repeated(before), *others], [*repeated(now), *others], limits=P95)
    assert words(changes) == ["regression"] + ["pass"] * 30


@pytest.mark.parametrize("factor", [1.0, 1.5, 3.0, 100.0])
def test_a_regression_that_gets_worse_stays_one(factor: float) -> None:
    """However far one repeat is out on the side that is worse."""
    now = [*SLOWER[:4], SLOWER[4] * factor]
    assert only(repeated(BEFORE), repeated(now)).verdict is ChangeVerdict.REGRESSION


def test_a_sure_regression_is_found_among_sixty_comparisons() -> None:
    """The correction does not silence the gate: rank tests alone could never fire here."""
    cases = [f"case-{n}" for n in range(60)]
    before = [record for case in cases for record in repeated(BEFORE, case=case)]
    now = [record for case in cases for record in repeated(SLOWER if case == "case-7" else BEFORE, case=case)]
    found = {change.case: str(change.verdict) for change in changes_of(before, now, limits=P95)}
    assert [case for case, verdict in found.items() if verdict == "regression"] == [
        "benchmarks/test_latency.py::test_latency[case-7]"
    ]


def test_a_case_that_one_side_has_not_is_missing() -> None:
    """Neither a new case nor one that went away is green; the side that has it is told."""
    new, gone = changes_of(repeated(BEFORE, case="gone"), repeated(SLOWER, case="new"), limits=P95)
    assert (new.doubt, gone.doubt) == (Doubt.MISSING, Doubt.MISSING)
    assert (new.reason, new.remedy) == ("the baseline has no such case", "promote a baseline that has it")
    assert gone.reason == "the run has no such case"
    assert gone.remedy == "measure it, or promote a baseline without it"
    assert (new.baseline, new.now, new.replicates) == (None, 47.9, (0, 5))
    assert (gone.baseline, gone.now, gone.replicates) == (41.2, None, (5, 0))
    assert new.interval is None
    assert new.change is None
    assert new.p_value is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([None] * 5, "the run has no p95 in any repeat"),
        ([40.0, None, 40.0, float("nan"), 40.0], "the run has no p95 in repeats 2, 4 of 5"),
        ([None], "the run has no p95"),
    ],
)
def test_a_figure_that_a_replicate_has_not_is_missing(values: list[float | None], reason: str) -> None:
    """NaN and None are missing, never left out of the count."""
    change = only(repeated(BEFORE), repeated(values))
    assert (change.doubt, change.reason) == (Doubt.MISSING, reason)
    assert change.remedy == "limit a figure that every run has, or measure again"


def test_a_figure_that_no_side_has_is_missing_only_where_it_is_limited() -> None:
    """Who limits energy on a machine that measures none hears of it; who only looks is not failed."""
    limited = changes_of(repeated(BEFORE), repeated(BEFORE), limits=[ChangeLimit(figure="energy", share=0.1)])
    looked = changes_of(repeated(BEFORE), repeated(BEFORE), limits=(), figures=["energy"])
    assert words(limited) == words(looked) == ["missing"]
    assert failing(limited, Severity.AUTO) == limited
    assert failing(looked, Severity.FAIL) == ()
    assert looked[0].limit is None


def test_zero_has_no_share() -> None:
    """An energy of nothing is no baseline: ten per cent of it is nothing, too."""
    energy = [ChangeLimit(figure="energy", share=0.1)]
    sides = repeated([0.0, 1.0, 1.0, 1.0, 1.0], figure="energy"), repeated([2.0] * 5, figure="energy")
    (change,) = changes_of(*sides, limits=energy)
    assert change.doubt is Doubt.INVALID
    assert change.reason == ("the baseline has no energy above 0 in repeat 1 of 5: there is no share of it")
    nothing = repeated([0.0] * 5, figure="energy")
    (change,) = changes_of(nothing, nothing, limits=energy)
    assert (change.doubt, change.change) == (Doubt.INVALID, None)


def test_a_replicate_that_is_not_valid_spoils_its_case() -> None:
    """A figure of a run that may not be believed is not compared, whatever it says."""
    now = repeated(BEFORE)
    now[1] |= {"validity": "client_limited", "reason": "the client was at its ceiling"}
    change = only(repeated(BEFORE), now)
    assert (change.verdict, change.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.INVALID)
    assert change.reason == "repeat 2 of 5 of the run is client_limited (the client was at its ceiling)"
    assert change.remedy == "measure again once its cause is gone"


def test_a_record_that_tells_no_validity_is_not_valid() -> None:
    """What is missing is not passing."""
    before = repeated(BEFORE)
    del before[4]["validity"]
    change = only(before, repeated(BEFORE))
    assert change.reason == "repeat 5 of 5 of the baseline is of unknown validity"


def test_another_load_is_different() -> None:
    """Two seconds are no six seconds: the reason names the difference, the remedy both ways out."""
    now = repeated(SLOWER, load={"concurrency": 1, "arrivals": "closed", "duration_s": 2})
    change = only(repeated(BEFORE), now)
    assert change.doubt is Doubt.DIFFERENT
    assert change.reason == "duration_s was 6, is 2"
    assert change.remedy == "measure both under the same load, or --serve-allow-different=duration_s"
    assert change.change == pytest.approx(47.9 / 41.2 - 1)
    assert only(repeated(BEFORE), now, allowed=frozenset({"duration_s"})).fails
    assert only(repeated(BEFORE), now, allowed=frozenset({"all"})).doubt is Doubt.DIFFERENT


def test_another_machine_is_different() -> None:
    """A baseline of another CPU judges nothing, unless the user says that it may."""
    now = repeated(SLOWER, machine={"cpu": "another CPU", "packages": {"onnxruntime": "1.20"}})
    change = only(repeated(BEFORE), now)
    assert (change.doubt, change.reason) == (Doubt.DIFFERENT, "cpu was a CPU, is another CPU")
    assert change.remedy == "promote a baseline from this machine, or --serve-allow-different=cpu"
    assert only(repeated(BEFORE), now, allowed=frozenset({"cpu"})).fails
    assert only(repeated(BEFORE), now, allowed=frozenset({"all"})).fails


def test_many_differences_are_counted() -> None:
    """The first three are named; of the machine's others, that there are more."""
    machine = {"cpu": "x", "cores_usable": 3, "packages": {"onnxruntime": "1.20"}}
    now = repeated(BEFORE, machine=machine, weights="w", artifact_sha256="abc", load={"concurrency": 2})
    change = only(repeated(BEFORE), now)
    assert change.reason.startswith("concurrency was 1, is 2; arrivals was closed, is none; duration_s was 6")
    assert change.reason.endswith("; and 4 more")
    assert change.remedy == (
        "measure both under the same load, or --serve-allow-different=concurrency,arrivals,duration_s,all"
    )


def test_different_comes_before_invalid() -> None:
    """Of two doubts the one that no further measuring takes away is told."""
    now = repeated(BEFORE, machine={"cpu": "x", "packages": {"onnxruntime": "1.20"}}, validity="unstable")
    assert only(repeated(BEFORE), now).doubt is Doubt.DIFFERENT


@pytest.mark.parametrize(
    ("before", "now", "reason", "remedy"),
    [
        (3, 3, "3 v 3 repeats give no p below 0.05", "give --serve-repeats=4"),
        (5, 1, "5 v 1 repeats give no p below 0.17", "give --serve-repeats=2"),
        (
            1,
            5,
            "1 v 5 repeats give no p below 0.17",
            "give --serve-repeats=4 here and for the baseline, or 20 here",
        ),
    ],
)
def test_too_few_repeats_say_how_many_are_needed(before: int, now: int, reason: str, remedy: str) -> None:
    """However large the change is, so few runs cannot tell it from chance."""
    change = only(repeated(BEFORE[:before]), repeated([value * 3 for value in BEFORE[:now]]))
    assert (change.doubt, change.reason, change.remedy) == (Doubt.TOO_FEW, reason, remedy)
    assert change.now is not None


def test_a_server_that_was_not_restarted_gives_no_replicates() -> None:
    """Five measurements of one server are one run, on either side."""
    attached = repeated(SLOWER, restarted=False)
    change = only(repeated(BEFORE), attached)
    assert change.doubt is Doubt.TOO_FEW
    assert change.reason == (
        "the server of the run was not started for each repeat: that is one run, however often it was"
        " measured"
    )
    assert change.remedy == "let servebench start the server, on both sides"
    assert (change.p_value, change.interval, change.now) == (None, None, 47.9)
    assert only(repeated(BEFORE), repeated(SLOWER, restarted=True)).fails
    assert "of the baseline" in only(attached, repeated(BEFORE)).reason


def test_replicates_of_several_files_count_together() -> None:
    """Five files without repeats on each side are five replicates: A/B of two commits, interleaved."""
    before = [measured({"p95": value}) for value in BEFORE]
    now = [measured({"p95": value}) for value in SLOWER]
    change = only(before, now)
    assert (change.verdict, change.replicates) == (ChangeVerdict.REGRESSION, (5, 5))


def test_figures_without_a_limit_get_numbers_and_no_verdict() -> None:
    """Nobody said how much worse they may be; so few repeats are no doubt then, and nothing fails."""
    changes = changes_of(repeated(BEFORE), repeated(SLOWER), limits=(), figures=["p95"])
    assert words(changes) == ["not_limited"]
    assert changes[0].interval is not None
    assert changes[0].limit is None
    assert failing(changes, Severity.FAIL) == ()
    assert words(changes_of(repeated([41.0]), repeated([47.0]), limits=(), figures=["p95"])) == [
        "not_limited"
    ]


def test_changes_are_in_order_of_cases_then_figures() -> None:
    """One for each case and figure: the run's cases first, figures as in tables, none twice."""
    before = [*repeated(BEFORE, case="b"), *repeated(BEFORE, case="gone")]
    now = [*repeated(BEFORE, case="a"), *repeated(BEFORE, case="b")]
    limits = (ChangeLimit(figure="throughput", share=0.1), *P95)
    changes = changes_of(before, now, limits=limits, figures=["memory", "p95", "p50"])
    assert [change.case.partition("[")[2] for change in changes[::4]] == ["a]", "b]", "gone]"]
    assert [change.figure for change in changes[:4]] == ["p50", "p95", "throughput", "memory"]
    assert [change.limit for change in changes[:4]] == [None, 0.05, 0.1, None]


def test_response_times_of_a_capacity_search_are_not_judged() -> None:
    """A server that holds a higher rate is asked at it: its p95 there says nothing, its rate all."""

    def searched(rate: float, number: int) -> dict[str, Any]:
        found = measured(
            {"p95": rate / 2, "throughput": rate},
            repeat=number,
            load={"arrivals": f"poisson:{rate}", "duration_s": rate / 3, "max_in_flight": 512},
        )
        found["case"]["objective"] = "p95<=50ms"
        return found

    sides = [[searched(at + n, n) for n in range(1, 6)] for at in (100, 130)]
    p95, throughput = changes_of(*sides, limits=DEFAULT_LIMITS)
    assert (p95.verdict, p95.limit) == (ChangeVerdict.NOT_LIMITED, None)
    assert p95.reason == (
        "the rate of requests was looked for, and response times are whatever it makes them"
    )
    assert throughput.verdict is ChangeVerdict.IMPROVEMENT


def test_a_limit_that_holds_for_no_case_is_not_green() -> None:
    """Where all rates were looked for, a limit on response times alone compares nothing: that proves none."""
    sides = [repeated(BEFORE, load={"arrivals": "poisson:9"}) for _ in range(2)]
    for record in (*sides[0], *sides[1]):
        record["case"]["objective"] = "p95<=50ms"
    change = only(*sides)
    assert (change.verdict, change.doubt) == (ChangeVerdict.INCONCLUSIVE, Doubt.MISSING)
    assert change.remedy == "limit throughput: it is the rate that was found"
    assert failing([change], Severity.AUTO) == (change,)
    loaded = repeated(BEFORE, case="loaded")
    assert words(changes_of([*sides[0], *loaded], [*sides[1], *loaded], limits=P95)) == [
        "not_limited",
        "pass",
    ]


@pytest.mark.parametrize(
    "given", [{"limits": [ChangeLimit(figure="p955", share=0.1)]}, {"figures": ["p955"]}]
)
def test_an_unknown_figure_is_an_error(given: dict[str, Any]) -> None:
    """A figure that no record has would be missing for ever; it is a slip of the pen."""
    with pytest.raises(PlanError) as caught:
        changes_of([], [], **{"limits": (), **given})
    assert caught.value.what == "a comparison does not know the figure 'p955': did you mean p95?"
    assert caught.value.next_step.startswith("use one of: p50, p95, p99, throughput")


@pytest.mark.parametrize(
    ("severity", "fails"),
    [
        (Severity.AUTO, {"regression", "missing", "different", "invalid", "too_few"}),
        (Severity.FAIL, {"regression", "missing", "different", "invalid", "too_few", "noise"}),
        (Severity.WARN, {"regression"}),
    ],
)
def test_what_fails_the_exit_code(severity: Severity, fails: set[str]) -> None:
    """By default only noise is forgiven: where nothing could be compared nothing is green."""
    verdicts = [verdict for verdict in ChangeVerdict if verdict is not ChangeVerdict.INCONCLUSIVE]
    changes = [
        *(Change(case="c", figure="p95", unit="ms", limit=0.05, verdict=verdict) for verdict in verdicts),
        *(
            Change(
                case="c", figure="p95", unit="ms", limit=0.05, verdict=ChangeVerdict.INCONCLUSIVE, doubt=doubt
            )
            for doubt in Doubt
        ),
    ]
    assert set(words(failing(changes, severity))) == fails
