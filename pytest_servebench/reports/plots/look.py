"""How every plot looks: one frame, the page's colours, signs for stacks beyond colour (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.plots.shown import ShownCase

Spec = Mapping[str, Any]
Data = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the grammar; nothing is asked from there."""
INK, PAPER, FAINT, RULE = "var(--ink)", "var(--paper)", "var(--faint)", "var(--rule)"
GOOD, BAD = "var(--good)", "var(--bad)"
FONT_PX = 12
DASHES = ([1, 0], [6, 3], [2, 2], [9, 3, 2, 3], [12, 4], [3, 5])
"""One for each line; where there are more lines, of a stack."""
_WIDE_LABEL = 20
"""Letters of a label above which two do not fit side by side on a phone."""
_CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "text": {"color": INK, "fontSize": FONT_PX},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "gridColor": RULE,
        "labelFontSize": FONT_PX,
        "titleFontSize": FONT_PX,
        "titleFontWeight": "normal",
        "labelLimit": 0,
    },
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": FONT_PX, "labelLimit": 0},
}


def framed(description: str, **parts: object) -> Spec:
    """Return a whole specification, as wide as its place on the page."""
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": "container",
        "config": _CONFIG,
        **parts,
    }


def stacks_scale(cases: Sequence[ShownCase], field: str = "label") -> tuple[Spec, Spec]:
    """Return how labels are told apart: the colour of the stack, and a dash, at least within the stack."""
    labels = {case.label: case.colour for case in sorted(cases, key=lambda each: each.label)}
    return labels_scale(labels, field)


def labels_scale(labels: Mapping[str, str], field: str = "label") -> tuple[Spec, Spec]:
    """Return the same for labels with their colours."""
    dashes = _dashes(list(labels.values()))
    widest = max(map(len, labels), default=0)
    legend = {
        "title": None,
        "orient": "bottom",
        "columns": 1 if widest > _WIDE_LABEL else 2,
        "symbolType": "stroke",
        "symbolSize": 400,
        "symbolStrokeWidth": 2,
    }
    common = {"field": field, "type": "nominal", "legend": legend}
    domain = list(labels)
    return (
        {**common, "scale": {"domain": domain, "range": list(labels.values())}},
        {**common, "scale": {"domain": domain, "range": dashes}},
    )


def _dashes(colours: Sequence[str]) -> list[list[int]]:
    """Return a dash for each line: each has its own while they last, so that no colour need be seen."""
    if len(colours) <= len(DASHES):
        return list(DASHES[: len(colours)])
    used: dict[str, int] = {}
    dashes = []
    for colour in colours:
        dashes.append(DASHES[used.get(colour, 0) % len(DASHES)])
        used[colour] = used.get(colour, 0) + 1
    return dashes


def chooser(param: str, words: str, options: Sequence[str]) -> list[Spec]:
    """Return the drop-down that chooses among ``options`` by their place; none for one alone."""
    if len(options) < 2:  # noqa: PLR2004 (nothing to choose)
        return []
    bind = {"input": "select", "options": list(range(len(options))), "labels": list(options), "name": words}
    return [{"name": param, "value": 0, "bind": bind}]


def chosen(param: str, field: str, options: Sequence[str]) -> list[Spec]:
    """Return the transform that keeps what a `chooser` has chosen; fields are ours, never a user's text."""
    if len(options) < 2:  # noqa: PLR2004 (nothing to choose)
        return []
    return [{"filter": f"datum.{field} === toNumber({param})"}]


def figure(value: float, unit: str) -> str:
    """Return a figure with three digits that count, and its unit."""
    return f"{number(value, decimals([value], 6))} {unit}".rstrip()


def listed_absences(reasons: Sequence[str], most: int = 3) -> str:
    """Return the different reasons for which something is missing, in a line."""
    different = [each for each in dict.fromkeys(reasons) if each]
    more = f"; and {len(different) - most} more reasons" if len(different) > most else ""
    return "; ".join(different[:most]) + more
