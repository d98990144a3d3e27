"""The text of ``--serve-fail`` is read as it is written, and what is wrong is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.comparison.changes import DEFAULT_LIMITS, ChangeLimit
from pytest_servebench.comparison.fail_limits import GRAMMAR, limits_text, parse_limits
from pytest_servebench.comparison.figures import FIGURES
from pytest_servebench.errors import PlanError


def read(text: str) -> tuple[ChangeLimit, ...]:
    """Return the limits in a text of the command line."""
    return parse_limits(text, flag="--serve-fail", where="the command line")


def test_figures_and_shares_are_read_in_order() -> None:
    """The issue's own example."""
    assert read("p95:10%,throughput:5%") == (
        ChangeLimit(figure="p95", share=0.1),
        ChangeLimit(figure="throughput", share=0.05),
    )


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        (" p95 : 7.5 % ", ChangeLimit(figure="p95", share=0.075)),
        ("p95:10%:0.5ms", ChangeLimit(figure="p95", share=0.1, floor=0.5)),
        ("p95:10%:.5", ChangeLimit(figure="p95", share=0.1, floor=0.5)),
        ("throughput:5%:10 images/s", ChangeLimit(figure="throughput", share=0.05, floor=10)),
        ("memory:0%:0GB", ChangeLimit(figure="memory", share=0.0, floor=0.0)),
        ("efficiency:5%:0.02", ChangeLimit(figure="efficiency", share=0.05, floor=0.02)),
        ("energy:200%", ChangeLimit(figure="energy", share=2.0)),
    ],
)
def test_what_may_be_written(text: str, limit: ChangeLimit) -> None:
    """Blanks, decimals, and a floor with or without the figure's own unit."""
    assert read(text) == (limit,)


def test_the_default_is_what_its_text_says() -> None:
    """What help and documentation print is what holds."""
    assert limits_text(DEFAULT_LIMITS) == "p95:5%,throughput:5%"
    assert read(limits_text(DEFAULT_LIMITS)) == DEFAULT_LIMITS


@given(
    st.lists(
        st.builds(
            ChangeLimit,
            figure=st.sampled_from(sorted(FIGURES)),
            share=st.integers(0, 9999).map(lambda number: number / 10_000),
            floor=st.none() | st.floats(0, 1e6),
        ),
        min_size=1,
        unique_by=lambda limit: limit.figure,
    )
)
def test_limits_are_read_as_they_print(limits: list[ChangeLimit]) -> None:
    """No share and no floor changes on the way through its text."""
    assert read(limits_text(limits)) == tuple(limits)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no limit in ''"),
        ("p95:10%,", "has no limit in ''"),
        ("p95", "has no limit in 'p95'"),
        (":10%", "has no limit in ':10%'"),
        ("p95:10%:1ms:2", "has no limit in 'p95:10%:1ms:2'"),
        ("p95:10", "has no share in percent in 'p95:10'"),
        ("p95:-5%", "has no share in percent in 'p95:-5%'"),
        ("p95:nan%", "has no share in percent in 'p95:nan%'"),
        ("p95:", "has no share in percent in 'p95:'"),
        ("p95:1001%", "has a share above 1000% in 'p95:1001%'"),
        ("throughput:100%", "has a share in 'throughput:100%' that throughput cannot fall by (below 100%)"),
        ("p95:5%,p95:6%", "limits p95 twice"),
        ("p95:5%:", "has no least change in 'p95:5%:'"),
        (
            f"p95:5%:{'9' * 400}",
            f"gives a least change in 'p95:5%:{'9' * 400}' that nothing could ever exceed",
        ),
        ("p95:\N{ARABIC-INDIC DIGIT FIVE}%", "has no share in percent in 'p95:\N{ARABIC-INDIC DIGIT FIVE}%'"),
        ("p95:5%:-1ms", "has no least change in 'p95:5%:-1ms'"),
        ("p95:5%:1s", "gives the least change of p95 in 's', not in 'ms'"),
        (
            "p59:5%",
            (
                "does not know the figure 'p59': did you mean p99?"
                " (it knows p50, p95, p99, throughput, efficiency, memory, energy)"
            ),
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, what: str) -> None:
    """Each error names the option, the piece, what was given, and the grammar."""
    with pytest.raises(PlanError) as caught:
        read(text)
    assert caught.value.what == f"--serve-fail {what}"
    assert caught.value.where == "the command line"
    assert caught.value.seen == repr(text)
    assert caught.value.next_step == f"give {GRAMMAR}"
