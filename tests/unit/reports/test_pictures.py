"""The report's pictures: every bar is a figure that was measured, and what is missing is said."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.plan import ModelFormat
from pytest_servebench.reports import pictures
from pytest_servebench.reports.bars import groups_of
from pytest_servebench.reports.palette import PALETTE
from pytest_servebench.reports.pictures import (
    DOUBTFUL_HATCH,
    INTERVAL,
    latency_comparison,
    latency_figure,
    resource_analysis,
    resource_figure,
)
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.results import Telemetry, Validity
from tests.saved_records import repeats, saved_record

GPU = Telemetry(gpu_utilization_percent=89.0, gpu_memory_bytes=1_800_000_000, batch_size_achieved=6.0)
UNSTABLE = {"validity": Validity.UNSTABLE, "reason": "p95 drifts"}
WRONG = {"validity": Validity.WRONG_OUTPUT, "reason": "7 of 8 answers differ"}


def run_of(*records: dict[str, Any], name: str = "run") -> SavedRun:
    """Return a run of these records."""
    return SavedRun(name=name, records=records)


def two_stacks(**changes: Any) -> SavedRun:
    """Return a run of a fast and a slow stack, asked alike."""
    return run_of(
        saved_record(stack="triton", **changes), saved_record(stack="fastapi", slower=2.0, **changes)
    )


def drawn(axes: Axes) -> list[float]:
    """Return the lengths of a panel's bars, from top to bottom."""
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [float(bar.get_width()) for bar in sorted(bars, key=lambda bar: float(bar.get_y()))]


def intervals(axes: Axes) -> list[tuple[float, float]]:
    """Return the ends of a panel's intervals."""
    ends = [np.asarray(line.get_xdata()) for line in axes.lines if line.get_gid() == INTERVAL]
    return [(float(low), float(high)) for low, high in ends]


def words(axes: Axes) -> list[str]:
    """Return what is written in a panel."""
    return [text.get_text() for text in axes.texts]


def names(axes: Axes) -> list[str]:
    """Return what stands beside a panel's bars."""
    return [label.get_text() for label in axes.get_yticklabels()]


def below(figure: Figure) -> str:
    """Return what the signs are said to mean."""
    label = figure._supxlabel  # type: ignore[attr-defined]
    return str(label.get_text())


@pytest.mark.parametrize("draw", [latency_comparison, resource_analysis])
@pytest.mark.parametrize("count", [1, 2])
def test_they_are_pictures(draw: Any, count: int) -> None:
    """One run or several are a PNG that a program reads, with more than one colour in it."""
    picture = Image.open(io.BytesIO(draw([two_stacks()] * count)))
    picture.load()
    assert picture.format == "PNG"
    assert picture.width > 1_000
    colours = {"#{:02X}{:02X}{:02X}".format(*each) for _, each in picture.convert("RGB").getcolors(2**20)}  # type: ignore[misc, union-attr]
    assert set(PALETTE[:2]) <= colours


def test_every_bar_is_the_figure_of_the_table() -> None:
    """p50, p95 and p99 of each case in turn, and images/s beside them; units are in the axes' labels."""
    run = two_stacks()
    left, right = latency_figure([run]).axes
    rows = joined_rows(run.records)
    times = [(row.response_time_p50_ms, row.response_time_p95_ms, row.response_time_p99_ms) for row in rows]
    assert drawn(left) == pytest.approx([each for three in times for each in three])
    assert drawn(right) == pytest.approx([row.images_per_s for row in rows])
    assert names(left) == ["triton onnx", "fastapi onnx"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("response time, ms", "throughput, images/s")
    assert "p95 8.55 *" in words(left), "the best is marked as in the table"
    assert "p95 17.10" in words(left)


def test_percentiles_differ_without_colour() -> None:
    """Each has its hatch and its name."""
    left, _ = latency_figure([two_stacks()]).axes
    assert len({patch.get_hatch() for patch in left.patches}) == 3
    assert [text.split()[0] for text in words(left)] == ["p50", "p95", "p99"] * 2


def test_intervals_are_those_over_repeats() -> None:
    """An error bar is the interval whose width the table tells; without repeats there is none."""
    run = run_of(*repeats(5, stack="triton"), *repeats(5, stack="fastapi"))
    left, _ = latency_figure([run]).axes
    row = joined_rows(run.records)[0]
    across = row.across(lambda one: one.response_time_p95_ms)
    assert across is not None
    assert across.interval is not None
    assert intervals(left)[1] == pytest.approx(across.interval)
    assert len(intervals(left)) == 6
    assert intervals(latency_figure([two_stacks()]).axes[0]) == []
    assert "95% interval" in below(latency_figure([run]))
    assert "95% interval" not in below(latency_figure([two_stacks()]))


def test_an_interval_that_knows_nothing_does_not_squeeze_the_bars() -> None:
    """Two repeats that differ tell little: their interval is cut, with an arrow, at twice the bar."""
    run = run_of(*(saved_record(repeat=at, slower=slow) for at, slow in ((1, 1.0), (2, 3.0))))
    left, _ = latency_figure([run]).axes
    longest = max(drawn(left))
    assert max(high for _, high in intervals(left)) == pytest.approx(2 * longest)
    assert ">" in {line.get_marker() for line in left.lines}
    assert left.get_xlim()[1] < 3 * longest


def test_what_is_missing_has_no_bar() -> None:
    """A wrong answer has no speed: n/a, its verdict beside it, and never a bar of 0."""
    run = run_of(saved_record(stack="triton"), saved_record(stack="fastapi", result=WRONG))
    left, right = latency_figure([run]).axes
    assert (len(drawn(left)), len(drawn(right))) == (3, 1)
    assert words(left)[3:] == ["p50 n/a", "p95 n/a", "p99 n/a"]
    assert names(left) == ["triton onnx", "fastapi onnx\n(wrong_output)"]
    nothing, _ = latency_figure([run_of(saved_record(result=WRONG))]).axes
    assert not list(nothing.get_xticks()), "no figures along an axis without a bar"


def test_what_is_doubtful_is_hatched_and_named() -> None:
    """An invalid case is seen, but not as the valid ones are, and beats nobody."""
    run = run_of(saved_record(stack="triton", result=UNSTABLE), saved_record(stack="fastapi", slower=2.0))
    figure = latency_figure([run])
    left, right = figure.axes
    assert names(left)[0] == "triton onnx\n(unstable)"
    assert [patch.get_hatch() for patch in right.patches] == [DOUBTFUL_HATCH, ""]
    assert to_rgba(right.patches[0].get_facecolor())[-1] == 0, "without filling"
    assert not [text for text in words(left) if text.endswith("*")]
    assert "not to be believed" in below(figure)
    assert "not to be believed" not in below(latency_figure([two_stacks()]))


def test_a_missing_repeat_is_named() -> None:
    """Of three repeats only two were measured, or believed: the case says so."""
    records = repeats(3, repeats=3)
    few = groups_of([run_of(*records[:2])])[1][0].cases[0]
    assert few.doubt == "2 of 3 repeats"
    doubtful = [*records[:2], saved_record(repeat=3, repeats=3, result=UNSTABLE)]
    assert groups_of([run_of(*doubtful)])[1][0].cases[0].doubt == "unstable 2/3"


def test_four_resources_with_units() -> None:
    """With a GPU its use, memory, how full batches were, and images/s per GB, each as the table has it."""
    run = two_stacks(result={"telemetry": GPU})
    panels = resource_figure([run]).axes
    rows = joined_rows(run.records)
    assert [axes.get_xlabel() for axes in panels] == [
        "GPU use, %",
        "memory, GB",
        "mean batch / max batch, %",
        "throughput per memory, images/s per GB",
    ]
    assert [drawn(axes)[0] for axes in panels] == pytest.approx(
        [89.0, 1.8, 75.0, rows[0].images_per_s_per_gb]
    )
    assert names(panels[0]) == ["triton onnx", "fastapi onnx"]
    assert names(panels[1]) == ["", ""]


def test_without_a_gpu_the_cpu_is_shown_and_called_so() -> None:
    """Nobody takes cores for per cent of a GPU."""
    first = resource_figure([two_stacks()]).axes[0]
    assert first.get_title(loc="left") == "CPU use (no GPU was read)"
    assert first.get_xlabel() == "CPU of the server, cores"
    assert drawn(first) == [1.5, 1.5]


def test_a_panel_that_cannot_be_drawn_says_why() -> None:
    """No empty axes, and the cases are named beside the next panel."""
    telemetry = Telemetry(server_memory_bytes=10**9, absent={"server_cpu_cores": "its processes are hidden"})
    cpu, memory, batches, _ = resource_figure([two_stacks(result={"telemetry": telemetry})]).axes
    assert words(cpu) == ["not reported: its processes are hidden"]
    assert not cpu.axison
    assert names(memory) == ["triton onnx", "fastapi onnx"]
    assert words(batches) == ["not reported"]


def test_a_batch_of_one_has_no_batching_efficiency() -> None:
    """A server that may not batch did not batch perfectly."""
    panels = resource_figure([two_stacks(batch=1)]).axes
    assert words(panels[2]) == ["the max batch is 1 in every case: there is nothing to batch"]


def test_groups_asked_alike_have_a_row_each() -> None:
    """Other loads have other axes; the title says what all share, each row what they do not."""
    run = run_of(
        *(saved_record(stack=stack, batch=batch) for stack in ("triton", "fastapi") for batch in (1, 8))
    )
    figure = latency_figure([run])
    assert [axes.get_title(loc="left") for axes in figure.axes[::2]] == [
        "max batch 1, 2 in flight",
        "max batch 8, 16 in flight",
    ]
    assert figure.get_suptitle() == (
        "Response time and throughput: test_speed, resnet50, tensor over http, 1 image per request, on cpu"
    )
    first = resource_figure([run]).axes[0]
    assert words(first)[-2:] == ["max batch 1, 2 in flight", "max batch 8, 16 in flight"]


def test_runs_of_one_case_stand_side_by_side() -> None:
    """Of several runs each is named, also where two have one name; each has its own best."""
    runs = [two_stacks(), two_stacks()]
    left = latency_figure(runs).axes[0]
    assert names(left) == [
        "triton onnx, run (1)",
        "triton onnx, run (2)",
        "fastapi onnx, run (1)",
        "fastapi onnx, run (2)",
    ]
    assert sum(text.startswith("p95") and text.endswith("*") for text in words(left)) == 2


def many(count: int) -> SavedRun:
    """Return a run of so many cases."""
    formats = (ModelFormat.ONNX, ModelFormat.PYTORCH)
    return run_of(
        *(
            saved_record(stack=f"stack{at // 8}", model_format=formats[at % 2], batch=2 ** (at // 2 % 4))
            for at in range(count)
        )
    )


@pytest.mark.parametrize("draw", [latency_figure, resource_figure])
def test_labels_of_many_cases_do_not_overlap(draw: Any) -> None:
    """Of 24 cases every name is a line of its own."""
    figure = draw([many(24)])
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels() if label.get_text()]
    assert len(boxes) >= 6
    boxes.sort(key=lambda box: float(box.y0))
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))


def test_more_than_anybody_reads_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture has an end; how much is not in it stands below."""
    monkeypatch.setattr(pictures, "MOST_CASES", 5)
    figure = latency_figure([many(8)])
    assert sum(len(names(axes)) for axes in figure.axes[::2]) == 5
    assert "3 more cases are not drawn" in below(figure)


@pytest.mark.parametrize("name", ["x" * 400, "a$\\frac{1}$b", "\u65e5\u672c"])
def test_any_name_is_drawn_as_it_is(name: str) -> None:
    """Long names are cut, dollars are no formula, and a letter that the font lacks is no warning."""
    runs = [run_of(saved_record(stack=name, benchmark=name), name=name), two_stacks()]
    for draw in (latency_comparison, resource_analysis):
        assert draw(runs).startswith(b"\x89PNG")


def test_nothing_to_draw_is_an_error() -> None:
    """No picture of nothing."""
    with pytest.raises(PlanError, match="nothing to draw"):
        latency_comparison([])


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks it reads what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    calls: Sequence[Any] = (latency_comparison, resource_analysis)
    for draw in calls:
        with pytest.raises(MissingPieceError, match=r"pip install 'pytest-servebench\[charts\]'"):
            draw([two_stacks()])
