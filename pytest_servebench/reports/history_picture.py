"""The history of many runs as a picture, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from pytest_servebench.comparison.history import Series, Turn
from pytest_servebench.comparison.sentences import percent
from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.reports.history import direction, figure_words
from pytest_servebench.words import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
MOST_PANELS = 24
"""A picture with more is read by nobody."""
_WIDTH_INCHES = 10.0
_PANEL_INCHES = 2.3
_DPI = 120
# Okabe and Ito's, which the colour-blind tell apart.
_DOT, _LEVEL, _WORSE, _BETTER = "#0072B2", "#000000", "#D55E00", "#009E73"
_LINES = {"worse": (_WORSE, "--"), "better": (_BETTER, "-.")}
_TITLE_LETTERS = 110
_NEAR_THE_EDGE = 0.2
"""Share of the runs in which a label stands to the right of its line."""


def check_picture(path: Path) -> None:
    """Raise `PlanError` for a file whose suffix is no picture's, `MissingPieceError` without matplotlib."""
    if path.suffix not in SUFFIXES:
        raise PlanError(
            "--output of a history is a picture",
            where=str(path),
            seen=f"the suffix {path.suffix!r}",
            next_step=f"end it in one of: {listed(SUFFIXES)}",
        )
    try:
        import matplotlib  # noqa: F401, ICN001 (whether it is there)
    except ImportError as error:
        raise MissingPieceError(
            "pictures are drawn by matplotlib, which is not installed",
            seen=str(error),
            next_step="pip install 'pytest-servebench[history]'",
        ) from error


def panels(series: Sequence[Series]) -> tuple[Series, ...]:
    """Return what is drawn: series that changed, then others that have enough runs, then the rest."""
    order = sorted(series, key=lambda each: (not each.turns, not each.is_judged))
    return tuple(order[:MOST_PANELS])


def left_out_panels(series: Sequence[Series]) -> list[str]:
    """Return one line that says how many series are not in the picture."""
    more = len(series) - MOST_PANELS
    return [f"not drawn: {more} more series; choose with --figures"] if more > 0 else []


def picture(series: Sequence[Series], suffix: str) -> bytes:
    """Return a picture with a panel for each of `panels`: runs as dots, levels as steps, changes as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = panels(series)
    figure = Figure(figsize=(_WIDTH_INCHES, _PANEL_INCHES * len(drawn) + 0.4), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, each in zip(figure.subplots(len(drawn), 1, squeeze=False)[:, 0], drawn, strict=True):
        _draw(axes, each)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix.removeprefix("."))
    return stream.getvalue()


def _draw(axes: Axes, series: Series) -> None:
    values = [point.value for point in series.points]
    places = range(len(values))
    axes.plot(places, values, "o", color=_DOT, markersize=4, label="run: median of its repeats")
    for begin, end, level in series.levels:
        label = "" if begin else "level: median of its runs"
        axes.hlines(level, begin - 0.5, end - 0.5, color=_LEVEL, linewidth=1.5, label=label)
    for turn in series.turns:
        _draw_turn(axes, series, turn)
    low, high = min(values), max(values)
    room = max(0.15 * (high - low), 0.02 * high)
    axes.set_ylim(low - room, high + 2 * room)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.set_ylabel(figure_words(series), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_title(_title(series), fontsize=9, loc="left", parse_math=False)
    _label_runs(axes, series)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_turn(axes: Axes, series: Series, turn: Turn) -> None:
    colour, style = _LINES[direction(turn)]
    axes.axvline(turn.at - 0.5, color=colour, linestyle=style, linewidth=1.5)
    run = series.points[turn.at].run
    at_left = turn.at < _NEAR_THE_EDGE * len(series.points)
    commit = f"\n{run.commit.split()[0]}" if run.commit else ""
    axes.annotate(
        f"{direction(turn)} {percent(turn.change)}{commit}",
        xy=(turn.at - 0.5, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4 if at_left else -4, -2),
        textcoords="offset points",
        ha="left" if at_left else "right",
        va="top",
        fontsize=8,
        color=colour,
        parse_math=False,
    )


def _label_runs(axes: Axes, series: Series) -> None:
    """Put the days under the runs, as many as there is room for."""
    count = len(series.points)
    step = max(1, -(-count // 8))
    places = list(range(0, count, step))
    axes.set_xticks(places, [series.points[at].run.started.strftime("%Y-%m-%d") for at in places], fontsize=8)
    axes.set_xlabel("runs, by the day they started", fontsize=8)


def _title(series: Series) -> str:
    number = f", series {series.number}: {series.differs}" if series.number > 1 else ""
    few = "" if series.is_judged else " (too few runs to be judged)"
    return shorten(f"{series.case}{number}", _TITLE_LETTERS, placeholder=" ...") + few
