"""What readings of a GPU say of a window: means inside it, energy between its edges, never a guess."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.telemetry.gpu_window import FIGURES, GpuUse, reading_over
from pytest_servebench.telemetry.points import growth, highest, integral, value_at

SECOND = 10**9
UTILIZATION, MEMORY, ENERGY, POWER = (
    "gpu_utilization_percent",
    "gpu_memory_bytes",
    "gpu_energy_j",
    "gpu_power_w",
)


def every_s(*values: object) -> list[tuple[int, Any]]:
    """Return readings at 0 s, 1 s, 2 s, ..."""
    return [(at * SECOND, value) for at, value in enumerate(values)]


def of(begin_s: float, end_s: float, **log: list[tuple[int, Any]]) -> Any:
    """Return what a log says of a window."""
    return reading_over(log, round(begin_s * SECOND), round(end_s * SECOND))


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[tuple[int, float]], int, int]:
    """Return readings of something that is never negative, and a window inside them."""
    steps = st.tuples(st.integers(1, 2 * SECOND), st.floats(0, 700))
    points, at_ns = [], 0
    for step_ns, value in draw(st.lists(steps, min_size=2, max_size=20)):
        at_ns += step_ns
        points.append((at_ns, value))
    first, last = points[0][0], points[-1][0]
    begin_ns = draw(st.integers(first, last - 1))
    return points, begin_ns, draw(st.integers(begin_ns + 1, last))


@given(courses())
def test_integrated_power_lies_between_its_extremes(case: tuple[list[tuple[int, float]], int, int]) -> None:
    """The energy of a window is its length times a power that was seen in or around it."""
    points, begin_ns, end_ns = case
    reading = reading_over({POWER: points}, begin_ns, end_ns)
    assert reading.gpu_power_w is not None
    assert reading.gpu_energy_j is not None
    watts = [value for _, value in points]
    assert min(watts) - 1e-6 <= reading.gpu_power_w <= max(watts) + 1e-6
    assert reading.gpu_energy_j == pytest.approx(reading.gpu_power_w * (end_ns - begin_ns) / SECOND)
    assert reading.gpu_energy_source == "power"


@given(courses(), st.floats(0.01, 0.99))
def test_energy_adds_up(case: tuple[list[tuple[int, float]], int, int], cut: float) -> None:
    """The energy of a window is that of its two parts, integrated or counted."""
    points, begin_ns, end_ns = case
    middle_ns = begin_ns + round((end_ns - begin_ns) * cut)
    if middle_ns in (begin_ns, end_ns):
        return
    total = 0.0
    counter = [(at_ns, total := total + value) for at_ns, value in points]
    for measure, log in ((integral, points), (growth, counter)):
        parts = measure(log, begin_ns, middle_ns) + measure(log, middle_ns, end_ns)
        assert parts == pytest.approx(measure(log, begin_ns, end_ns), rel=1e-9, abs=1e-6)


@given(courses())
def test_the_highest_of_a_window_is_never_below_its_edges(
    case: tuple[list[tuple[int, float]], int, int],
) -> None:
    """Edges count as they are interpolated, samples inside as they are."""
    points, begin_ns, end_ns = case
    top = highest(points, begin_ns, end_ns)
    inside = [value for at_ns, value in points if begin_ns <= at_ns <= end_ns]
    assert top == max(*inside, value_at(points, begin_ns), value_at(points, end_ns))


def test_only_the_window_counts() -> None:
    """What a GPU did before and after is not in any figure: 100 W, then 300 W inside, then 100 W."""
    watts = [(0, 100.0), (SECOND, 100.0), (SECOND + 1, 300.0), (3 * SECOND, 300.0), (3 * SECOND + 1, 100.0)]
    watts.append((4 * SECOND, 100.0))
    millijoules = every_s(0.0, 100.0, 400.0, 700.0, 800.0)
    counted = of(1.5, 2.5, **{POWER: watts, ENERGY: millijoules})
    assert (counted.gpu_power_w, counted.gpu_energy_j) == (pytest.approx(300), pytest.approx(300))
    assert counted.gpu_energy_source == "counter"
    assert of(1.5, 2.5, **{UTILIZATION: every_s(0, 0, 90, 0)}).gpu_utilization_percent == 90


def test_a_counter_that_began_anew_inside_the_window_counts_nothing() -> None:
    """A driver that was loaded anew within the window: also where its counter has overtaken itself since."""
    millijoules = every_s(1000.0, 1900.0, 100.0, 2000.0)
    lost = of(0, 3, **{ENERGY: millijoules})
    assert (lost.gpu_energy_j, lost.gpu_energy_source) == (None, None)
    assert lost.absent[ENERGY] == "its energy counter went backwards: the driver was loaded anew"
    assert of(0.5, 1, **{ENERGY: millijoules}).gpu_energy_j == 450
    integrated = of(0, 3, **{ENERGY: millijoules, POWER: every_s(900, 900, 900, 900)})
    assert (integrated.gpu_energy_j, integrated.gpu_energy_source) == (2700, "power")


def test_an_edge_between_two_counts_gets_its_share() -> None:
    """A counter that is read once a second still tells the energy of a window of a quarter."""
    reading = of(1.5, 1.75, **{ENERGY: every_s(0.0, 100.0, 300.0)})
    assert reading.gpu_energy_j == pytest.approx(50)


def test_an_idle_gpu_is_not_an_absent_one() -> None:
    """A GPU that did nothing has used 0%, and clocks that nothing held down have no reasons."""
    reading = of(0, 1, gpu_utilization_percent=every_s(0.0, 0.0), gpu_throttle=every_s(0, 0))
    assert (reading.gpu_utilization_percent, reading.gpu_throttle) == (0.0, {})
    assert reading.absent.keys().isdisjoint({UTILIZATION, "gpu_throttle"})


def test_throttling_is_told_by_share_of_samples() -> None:
    """Each reason has the share of samples that named it; several may hold at once."""
    log = every_s(0x4, 0x4 | 0x40, 0x1, 0x0)
    assert of(0, 3, gpu_throttle=log).gpu_throttle == {
        "gpu_idle": 0.25,
        "sw_power_cap": 0.5,
        "hw_thermal_slowdown": 0.25,
    }


def test_clocks_are_a_median() -> None:
    """One sample while a clock was changing does not move it."""
    assert of(0, 4, gpu_sm_clock_mhz=every_s(2500.0, 2500.0, 210.0, 2500.0, 2490.0)).gpu_sm_clock_mhz == 2500


def test_what_stays_counts_as_seen_around_a_short_window() -> None:
    """Processes are looked at once a second; a window of half of one has them all the same."""
    uses = every_s(GpuUse(5, {9: 3}), GpuUse(7, {8: None}))
    memory = every_s(5, 7)
    reading = of(0.2, 0.7, gpu_shared_with=uses, gpu_process_memory_bytes=memory)
    assert (reading.gpu_process_memory_bytes, reading.gpu_shared_with) == (7, 2)
    assert (reading.gpu_other_pids, reading.gpu_other_memory_bytes) == ((8, 9), 3)


def test_a_sample_that_failed_takes_the_figure_away() -> None:
    """What is left would not speak for the window; a failure outside it does not matter."""
    for figure in (UTILIZATION, MEMORY, ENERGY, POWER, "gpu_sm_clock_mhz", "gpu_throttle"):
        lost = reading_over({figure: every_s(4, 5, None, 7)}, SECOND // 2, 5 * SECOND // 2)
        assert lost.figures[figure] is None
        assert figure in lost.absent
        kept = reading_over({figure: every_s(None, 4, 5, 6, None)}, SECOND, 3 * SECOND)
        assert kept.figures[figure] is not None
        assert figure not in kept.absent


@pytest.mark.parametrize(
    ("begin_s", "end_s", "reason"),
    [
        (1.5, 1.5, "the window is empty"),
        (2.5, 3.5, "no sample fell into the window"),
        (7, 8, "no sample fell into the window"),
    ],
)
def test_a_window_that_is_not_covered_has_no_figures(begin_s: float, end_s: float, reason: str) -> None:
    """Nothing is extrapolated: all figures are None, each with its reason, in the names of `Telemetry`."""
    log = {figure: every_s(1, 1) for figure in FIGURES if figure != "gpu_shared_with"}
    reading = of(begin_s, end_s, **log, gpu_shared_with=every_s(GpuUse(1)))
    assert not any(reading.figures.values())
    assert reading.absent == dict.fromkeys(FIGURES, reason)
