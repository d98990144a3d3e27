"""Objectives: read as they are written, printed as they were read, and wrong ones told with their grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.errors import PlanError
from pytest_servebench.objective import (
    DEFAULT_OBJECTIVE,
    GRAMMAR,
    LONGEST_NS,
    PERCENTILES,
    ErrorLimit,
    Objective,
    TimeLimit,
    parse_objective,
)

ALMOST_50_MS = 49.9999
ERRORS = st.builds(
    ErrorLimit,
    share=st.integers(1, 1000).map(lambda tenths: tenths / 1000) | st.floats(0.0001, 1.0),
    inclusive=st.booleans(),
) | st.just(ErrorLimit(share=0.0, inclusive=True))
TIMES = st.lists(
    st.builds(
        TimeLimit,
        percentile=st.sampled_from(PERCENTILES),
        limit_ns=st.integers(1, LONGEST_NS),
        inclusive=st.booleans(),
    ),
    unique_by=lambda limit: limit.percentile,
    max_size=4,
).map(tuple)
OBJECTIVES = st.builds(Objective, times=TIMES, errors=st.none() | ERRORS).filter(lambda one: one.limits)


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("p95<=50ms,errors<2%", DEFAULT_OBJECTIVE),
        ("p99<0.25s", Objective(times=(TimeLimit(percentile=99, limit_ns=250_000_000, inclusive=False),))),
        (" errors <= 0% ", Objective(errors=ErrorLimit(share=0.0, inclusive=True))),
        (
            "p50<=800us,p90<1.5ms",
            Objective(
                times=(
                    TimeLimit(percentile=50, limit_ns=800_000),
                    TimeLimit(percentile=90, limit_ns=1_500_000, inclusive=False),
                )
            ),
        ),
    ],
)
def test_an_objective_is_read(text: str, objective: Objective) -> None:
    """Every figure, sign and unit of the grammar means what it says."""
    assert parse_objective(text) == objective


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("p95<=50ms,errors<2%", "p95<=50ms,errors<2%"),
        ("p99<0.25s", "p99<250ms"),
        ("p90<=1500us", "p90<=1.5ms"),
        ("p50<100s,errors<=0.5%", "p50<100s,errors<=0.5%"),
    ],
)
def test_an_objective_prints_as_it_is_asked_for(text: str, printed: str) -> None:
    """One objective has one text, in the largest unit that fits."""
    assert str(parse_objective(text)) == printed


@given(OBJECTIVES)
def test_what_is_printed_is_read_again(objective: Objective) -> None:
    """The text in a record asks for the same objective again."""
    assert parse_objective(str(objective)) == objective


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no limit in ''"),
        ("p95<=50", "has no limit in 'p95<=50'"),
        ("p95<=50ms,", "has no limit in ''"),
        ("p95=50ms", "has no limit in 'p95=50ms'"),
        ("errors<2", "has no limit in 'errors<2'"),
        ("p94<50ms", "does not know 'p94'"),
        ("p9999<50ms", "does not know 'p9999'"),
        ("failures<2%", "does not know 'failures'"),
        ("p95<2%", "limits a time by a share in 'p95<2%'"),
        ("errors<2ms", "limits errors by a time in 'errors<2ms'"),
        ("errors<0%", "has a share that nothing is below in 'errors<0%' (errors<=0% is none at all)"),
        ("errors<0.009%", "has a share below 0.01% in 'errors<0.009%' (errors<=0% is none at all)"),
        ("errors<101%", "has a share above 100% in 'errors<101%'"),
        ("p95<0ms", "has a time that is not above 0 and at most 1 h in 'p95<0ms'"),
        ("p95<2ms,p95<3ms", "limits p95 twice"),
        ("errors<2%,errors<3%", "limits errors twice"),
    ],
)
def test_a_wrong_objective_is_told_with_the_grammar(text: str, what: str) -> None:
    """The message names the option, its place, the part that is wrong, and what may be written."""
    with pytest.raises(PlanError) as caught:
        parse_objective(text, flag="--serve-objective", where="ini key serve_objective")
    assert caught.value.what == f"--serve-objective {what}"
    assert caught.value.where == "ini key serve_objective"
    assert caught.value.seen == repr(text)
    assert caught.value.next_step == f"give {GRAMMAR}"


def test_limits_hold_up_to_and_perhaps_at_their_limit() -> None:
    """``<=`` holds at the limit itself, ``<`` does not."""
    p95, errors = DEFAULT_OBJECTIVE.limits
    assert isinstance(p95, TimeLimit)
    assert isinstance(errors, ErrorLimit)
    assert (p95.miss_share, errors.miss_share) == (0.05, 0.02)
    assert p95.holds(50.0)
    assert not p95.holds(50.0001)
    assert errors.holds(0.0199)
    assert not errors.holds(0.02)
    strict = parse_objective("p95<50ms,errors<=2%")
    assert strict.times[0].holds(ALMOST_50_MS)
    assert not strict.times[0].holds(50.0)
    assert strict.errors is not None
    assert strict.errors.holds(0.02)


def test_a_label_is_fit_for_test_ids() -> None:
    """No character of it has to be quoted in a shell or a file name."""
    assert DEFAULT_OBJECTIVE.label == "p95-50ms-errors-2"
    assert parse_objective("p99<0.5ms").label == "p99-500us"
