"""A history as text, chart and picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_servebench.comparison.chronicle import Chronicle, Measured
from pytest_servebench.comparison.history import Series, series_of
from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.reports.history import history_json, history_lines
from pytest_servebench.reports.history_chart import ASCII, chart_lines, pencil_for
from pytest_servebench.reports.history_picture import (
    MOST_PANELS,
    check_picture,
    left_out_panels,
    panels,
    picture,
)
from tests.runs_made_up import LOAD, made_up_record
from tests.unit.comparison.test_history import UP, measured, runs_of

CASE = "test_it.py::test_speed[triton-onnx]"


def report(runs: Sequence[Measured], **rest: str) -> str:
    """Return a history of p95 in plain text."""
    series = series_of(runs, figures=["p95"])
    return "\n".join(history_lines(Chronicle(runs=tuple(runs)), series, width=80, colour=False, **rest))


def test_the_report_of_a_change() -> None:
    """The latest of every series, a chart with the change, the run where it began, and the counts."""
    assert report(runs_of(UP)) == (
        "15 runs, 2026-11-01 00:00 to 2026-11-15 00:00 UTC\n"
        "\n"
        f"{CASE}\n"
        "figure   runs    was     is   change           since\n"
        "─────────────────────────────────────────────────────────\n"
        "p95 ms     15   10.0   11.0    +9.7%   worse   2026-11-11\n"
        "\n"
        f"{CASE}: p95 ms\n"
        "11.11 │          ┊▀▄▀─\n"
        "      │          ▀   ▀\n"
        "      │          ┊\n"
        "      │          ┊\n"
        "      │          ┊\n"
        " 9.90 │▄▀▄▀▄▀▄▀▄▀┊\n"
        "       2026-11-01 2026-11-15\n"
        f"worse: {CASE}: p95 10.0 -> 11.0 ms, +9.7%, since run10 (2026-11-11 00:00): "
        "10 runs before, 5 since\n"
        "\n"
        "1 change in 1 series: 1 for the worse"
    )


def test_too_few_runs_are_said() -> None:
    """Nothing is guessed of fewer than eight runs, and how many it takes is told."""
    text = report(runs_of([10.0] * 4 + [20.0] * 3))
    assert "too few" in text
    assert "\nnot judged: 1 series with 7 runs: it takes 8 to tell a change from chance\n" in text
    assert text.endswith("\nno series has enough runs")


def test_the_sum_says_of_how_many_series_nothing_is_known() -> None:
    """Without a change the last line counts the series that could have shown one."""
    assert report(runs_of([10.0] * 9)).endswith("\nno change in 1 of 1 series")


def test_what_is_left_out_is_said() -> None:
    """Files that are no runs, and runs that are not valid, are named; of many files the number."""
    bad = measured(20, made_up_record(99.0, validity="unstable"))
    runs = [*runs_of([10.0] * 8), bad]
    chronicle = Chronicle(runs=tuple(runs), left_out=tuple(f"{number}.json: why" for number in range(7)))
    text = "\n".join(history_lines(chronicle, series_of(runs, figures=["p95"]), width=80, colour=False))
    assert "\nleft out: 4.json: why\nleft out: 2 more\n" in text
    assert f"not used: 1 of 9 runs of {CASE}: not valid, or without p95" in text


def test_another_load_is_said_to_be_another_series() -> None:
    """A second series of a case says what sets it apart."""
    runs = [*runs_of([10.0] * 8), *runs_of([20.0] * 8, load={**LOAD, "concurrency": 32})]
    assert f"{CASE}, series 2 (concurrency was 16, is 32)" in report(runs)


def test_ascii_is_enough() -> None:
    """Without UTF-8 charts and tables are of ASCII."""
    assert report(runs_of(UP), encoding="ascii").isascii()
    assert pencil_for("ascii") is ASCII
    assert pencil_for("no such encoding") is ASCII


def the_series(levels: Sequence[float]) -> Series:
    """Return the one series of these p95."""
    (series,) = series_of(runs_of(levels), figures=["p95"])
    return series


@pytest.mark.parametrize("count", [1, 8, 500])
@pytest.mark.parametrize("width", [20, 80])
def test_charts_fit(count: int, width: int) -> None:
    """However many runs there are, a chart is as wide as its terminal at most, its change still in it."""
    lines = chart_lines(the_series([10.0] * count + [14.0] * count), width=width, pencil=ASCII)
    assert max(map(len, lines[:-1])) <= width
    assert (":" in lines[2]) is (count >= 8)


def test_a_level_line_has_no_height() -> None:
    """Values that are all the same are drawn, too."""
    (first, *_rest) = series_of([measured(at, made_up_record(10.0)) for at in range(9)], figures=["p95"])
    assert sum("*********" in line for line in chart_lines(first, width=40, pencil=ASCII)) == 1


def test_json_has_points_and_changes() -> None:
    """Every point with its run, every change with where it began, in strict JSON."""
    runs = runs_of(UP)
    content = json.loads(history_json(Chronicle(runs=tuple(runs)), series_of(runs, figures=["p95"])))
    (series,) = content["series"]
    assert (content["schema"], series["figure"], series["unit"], len(series["points"])) == (
        1,
        "p95",
        "ms",
        15,
    )
    assert series["points"][0] == {
        "run": "run0",
        "started": "2026-11-01T00:00:00+00:00",
        "median": 10.0,
        "replicates": 1,
    }
    (change,) = series["changes"]
    assert (change["run"], change["point"], change["direction"]) == ("run10", 10, "worse")
    assert change["change_percent"] == pytest.approx(10, abs=1)


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_pictures_are_drawn(suffix: str, begins: bytes) -> None:
    """Each kind of picture is what its name says, also of a case whose name has dollars in it."""
    series = series_of(
        [*runs_of(UP, test="test_$x$_"), *runs_of([5.0] * 3, stack="fastapi")], figures=["p95"]
    )
    assert picture(series, suffix).startswith(begins)


def test_a_picture_says_what_it_shows() -> None:
    """Units, days, the change and what dots and lines are stand in it as text."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none"}):
        text = picture(series_of(runs_of(UP), figures=["p95"]), ".svg").decode()
    for words in (CASE, "p95 ms", "worse +", "2026-11-01", "median of its repeats", "median of its runs"):
        assert f">{words}" in text or f": {words}" in text, words


def test_what_changed_is_drawn_first() -> None:
    """Of more series than a picture has room for, those that changed are in it, and the rest is counted."""
    runs = [
        measured(
            at,
            *(made_up_record(level, test=f"test_{number}") for number in range(MOST_PANELS)),
            made_up_record(UP[at]),
        )
        for at, level in enumerate([10.0] * len(UP))
    ]
    series = series_of(runs, figures=["p95"])
    assert panels(series)[0].case == CASE
    assert len(panels(series)) == MOST_PANELS
    assert left_out_panels(series) == ["not drawn: 1 more series; choose with --figures"]


def test_other_suffixes_are_refused() -> None:
    """The kinds of pictures are named."""
    with pytest.raises(PlanError, match=r"one of: \.png, \.svg, \.pdf"):
        check_picture(Path("x.gif"))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be installed is said before any run is read."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPieceError, match=r"pip install 'pytest-servebench\[history\]'"):
        check_picture(Path("x.png"))
