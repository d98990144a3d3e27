"""The report's two pictures, by matplotlib: response times and throughput, and what they cost."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.reports.bars import (
    PERCENTILES,
    THROUGHPUT,
    Bar,
    Group,
    Quantity,
    Shown,
    groups_of,
    resources_of,
    why_absent,
)
from pytest_servebench.reports.numbers import numbers
from pytest_servebench.reports.palette import colour_of
from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.reports.row import Row
from pytest_servebench.reports.table import BEST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CASES = 72
"""A picture with more is read by nobody."""
PERCENTILE_STYLES: Mapping[str, tuple[float, str]] = {
    "p50": (1.0, ""),
    "p95": (0.65, "///"),
    "p99": (0.35, "..."),
}
"""Opacity and hatch of each: they differ without colour, too."""
INTERVAL = "interval"
"""What an interval's line is called in the figure."""
DOUBTFUL_HATCH = "xxxx"
_WIDTH_INCHES = 11.0
_DPI = 120
_LABEL_LETTERS = 44
_TITLE_LETTERS = 112
_GROUP_LETTERS = 80
_PANEL_LETTERS = 62
_SLOT_INCHES = {3: 0.52, 1: 0.26}
"""Height of a case with so many bars."""
_REACH = 2.0
"""An interval is drawn up to so many times the longest bar: what two repeats know would squeeze all bars."""
_Places: TypeAlias = "Sequence[tuple[int, Shown]]"
_INK, _FAINT = "#333333", "#777777"


def latency_comparison(runs: Sequence[SavedRun]) -> bytes:
    """Return a PNG: p50, p95 and p99 in ms, images/s beside them, a row for each group asked alike.

    Raises `MissingPieceError` without matplotlib.
    """
    return _png(latency_figure(runs))


def resource_analysis(runs: Sequence[SavedRun]) -> bytes:
    """Return a PNG of 2 x 2: use of GPU or CPU, memory in GB, batching efficiency, images/s per GB.

    Raises `MissingPieceError` without matplotlib.
    """
    return _png(resource_figure(runs))


def latency_figure(runs: Sequence[SavedRun]) -> Figure:
    """Return `latency_comparison` as matplotlib's figure."""
    sheet = _sheet(runs)
    heights = [len(group.cases) * _SLOT_INCHES[3] + 0.75 for group in sheet.groups]
    figure = _figure(sum(heights))
    grid = figure.subplots(len(heights), 2, squeeze=False, width_ratios=(3, 2), height_ratios=heights)
    for (left, right), group in zip(grid, sheet.groups, strict=True):
        places = list(enumerate(group.cases))
        _draw(left, places, PERCENTILES, sheet.colours)
        _draw(right, places, {"": THROUGHPUT}, sheet.colours)
        _name_cases(left, places, between="\n")
        _name_cases(right, places, shown=False)
        for axes, text in (
            (left, group.title or "Response time"),
            (right, "" if group.title else "Throughput"),
        ):
            axes.set_title(_short(text, _GROUP_LETTERS), fontsize=9, loc="left", parse_math=False)
    _frame(figure, "Response time and throughput", sheet)
    return figure


def resource_figure(runs: Sequence[SavedRun]) -> Figure:
    """Return `resource_analysis` as matplotlib's figure."""
    sheet = _sheet(runs)
    places, headings = _stacked(sheet.groups)
    figure = _figure(2 * (max(4, len(places) + len(headings)) * _SLOT_INCHES[1] + 0.8))
    for line, pair in zip(figure.subplots(2, 2), _pairs(resources_of(sheet.rows)), strict=True):
        named = False
        for axes, quantity in zip(line, pair, strict=True):
            axes.set_title(quantity.title, fontsize=9, loc="left")
            if absent := why_absent(quantity, runs, sheet.rows):
                _say_absent(axes, absent)
                continue
            _draw(axes, places, {"": quantity}, sheet.colours)
            _name_cases(axes, places, shown=not named)
            _head(axes, headings)
            named = True
    _frame(figure, "Resources", sheet)
    return figure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """What a picture is drawn from."""

    title: str
    groups: tuple[Group, ...]
    colours: Mapping[str, str]
    left_out: int
    """Cases for which there is no room."""

    @property
    def rows(self) -> list[Row]:
        return [case.row for group in self.groups for case in group.cases]


def _sheet(runs: Sequence[SavedRun]) -> _Sheet:
    """Return what is drawn, of the first `MOST_CASES`.

    Raises `MissingPieceError` without matplotlib, `PlanError` without a case.
    """
    _check_matplotlib()
    title, groups = groups_of(runs)
    if not groups:
        raise PlanError("there is nothing to draw", seen="no case was measured", next_step="measure one")
    kept, room = [], MOST_CASES
    for group in groups:
        if cases := group.cases[:room]:
            kept.append(replace(group, cases=cases))
        room -= len(cases)
    total = sum(len(group.cases) for group in groups)
    stacks = [case.row.stack for group in groups for case in group.cases]
    return _Sheet(
        title=title, groups=tuple(kept), colours=colour_of(stacks), left_out=max(0, total - MOST_CASES)
    )


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401, ICN001 (whether it is there)
    except ImportError as error:
        raise MissingPieceError(
            "the report's pictures are drawn by matplotlib, which is not installed",
            seen=str(error),
            next_step="pip install 'pytest-servebench[charts]'",
        ) from error


def _figure(height_inches: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_INCHES, height_inches + 1.0), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _draw(
    axes: Axes, places: _Places, quantities: Mapping[str, Quantity], colours: Mapping[str, str]
) -> None:
    """Draw a bar for each of ``quantities`` of every case, and what it says in figures at its end."""
    bars = [(at, case, [case.bar(each) for each in quantities.values()]) for at, case in places]
    limit = _limit([bar for _, _, found in bars for bar in found])
    texts = [numbers([found[nth].value for _, _, found in bars]) for nth in range(len(quantities))]
    thick = 0.8 / len(quantities) if len(quantities) > 1 else 0.6
    for line, (at, case, found) in enumerate(bars):
        for nth, (name, bar) in enumerate(zip(quantities, found, strict=True)):
            y = at + (nth - (len(found) - 1) / 2) * thick
            end = _draw_bar(axes, y, bar, _style(name, case, colours), height=0.9 * thick, limit=limit)
            best = f" {BEST}" if bar.is_best else ""
            axes.annotate(
                f"{name} {texts[nth][line]}{best}".strip(),
                (end, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5 if name else 7.5,
                color=_FAINT if bar.value is None else _INK,
                fontweight="bold" if bar.is_best else "normal",
            )
    axes.set_xlim(0, limit * 1.22)
    if all(bar.value is None for _, _, found in bars for bar in found):
        axes.set_xticks([])  # figures along an axis that nothing is drawn on would be made up
    axes.set_xlabel(next(iter(quantities.values())).axis, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bar(
    axes: Axes, y: float, bar: Bar, style: Mapping[str, Any], *, height: float, limit: float
) -> float:
    """Draw a bar with its interval, none for what is missing; return where it ends."""
    if bar.value is None:
        return 0.0
    axes.barh(y, bar.value, height=height, linewidth=0.8, **style)
    if bar.interval is None:
        return bar.value
    low, high = bar.interval
    end = min(high, limit)
    axes.plot([low, end], [y, y], color=_INK, linewidth=1.0, gid=INTERVAL)
    axes.plot([low], [y], "|", color=_INK, markersize=6)
    axes.plot([end], [y], "|" if high <= limit else ">", color=_INK, markersize=6 if high <= limit else 3)
    return max(bar.value, end)


def _style(name: str, case: Shown, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return how a bar looks: its stack's colour, its percentile's hatch; a doubtful one has no filling."""
    from matplotlib.colors import to_rgba

    colour = colours[case.row.stack]
    opacity, hatch = PERCENTILE_STYLES.get(name, (1.0, ""))
    if case.doubt:
        return {"facecolor": "none", "edgecolor": colour, "hatch": DOUBTFUL_HATCH, "linestyle": "--"}
    return {"facecolor": to_rgba(colour, opacity), "edgecolor": _INK, "hatch": hatch}


def _limit(bars: Sequence[Bar]) -> float:
    """Return how far the axis goes, before there is room for text."""
    longest = max((bar.value for bar in bars if bar.value is not None), default=0.0) or 1.0
    highest = max((bar.interval[1] for bar in bars if bar.interval is not None), default=longest)
    return min(max(longest, highest), _REACH * longest)


def _name_cases(axes: Axes, places: _Places, *, shown: bool = True, between: str = " ") -> None:
    """Put the names of cases at their places, the first one on top; with what is doubtful of them."""
    labels = [
        _short(case.label, _LABEL_LETTERS) + (f"{between}({case.doubt})" if case.doubt else "")
        for _, case in places
    ]
    ticks = [at for at, _ in places]
    axes.set_yticks(ticks, labels if shown else [""] * len(ticks), fontsize=8, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(ticks) + 0.6, min(0, *ticks) - 0.6)


def _stacked(groups: Sequence[Group]) -> tuple[list[tuple[int, Shown]], list[tuple[int, str]]]:
    """Return all cases under each other, and between them the titles of their groups."""
    places: list[tuple[int, Shown]] = []
    headings = []
    at = 0
    for group in groups:
        if group.title:
            headings.append((at, group.title))
            at += 1
        places += enumerate(group.cases, at)
        at += len(group.cases)
    return places, headings


def _head(axes: Axes, headings: Sequence[tuple[int, str]]) -> None:
    """Write the title of each group above its bars."""
    for at, title in headings:
        axes.annotate(
            _short(title, _PANEL_LETTERS),
            (0, at),
            xytext=(2, -2),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            fontstyle="italic",
            color=_INK,
            parse_math=False,
        )


def _say_absent(axes: Axes, why: str) -> None:
    """Say why there is nothing to see, in the place of empty axes."""
    axes.set_axis_off()
    text = fill(_short(why, 4 * _PANEL_LETTERS), _PANEL_LETTERS)
    axes.text(
        0,
        0.95,
        text,
        transform=axes.transAxes,
        fontsize=9,
        color=_FAINT,
        va="top",
        wrap=False,
        parse_math=False,
    )


def _frame(figure: Figure, title: str, sheet: _Sheet) -> None:
    """Put the title above and what the signs mean below."""
    head = f"{title}: {sheet.title}" if sheet.title else title
    figure.suptitle(
        fill(_short(head, 3 * _TITLE_LETTERS), _TITLE_LETTERS),
        fontsize=11,
        x=0.01,
        ha="left",
        parse_math=False,
    )
    cases = [case for group in sheet.groups for case in group.cases]
    lines = figure.findobj(match=lambda artist: artist.get_gid() == INTERVAL)
    words = [
        f"{BEST} best of the valid cases that were asked alike" if any(case.best for case in cases) else "",
        "lines with ends: 95% interval of the typical run, over repeats (>: it goes on)" if lines else "",
        "hatched without filling: not to be believed" if any(case.doubt for case in cases) else "",
        f"{NOT_AVAILABLE}: not reported",
        f"{sheet.left_out} more cases are not drawn" if sheet.left_out else "",
    ]
    figure.supxlabel("; ".join(filter(None, words)), fontsize=7.5, color=_FAINT, x=0.01, ha="left")


def _pairs(four: tuple[Quantity, ...]) -> tuple[tuple[Quantity, ...], ...]:
    return four[:2], four[2:]


def _short(text: str, letters: int) -> str:
    """Return a text in one line of so many letters at most."""
    line = " ".join(text.split())
    return line if len(line) <= letters else f"{line[: letters - 4].rstrip()} ..."


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes; that is no fault of the run.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format="png")
    return stream.getvalue()
