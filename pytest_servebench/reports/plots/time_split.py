"""Where the time of a request goes: queue, compute, and the rest, by the server's own word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from textwrap import wrap

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.plots.look import (
    BAD,
    FONT_PX,
    INK,
    PAPER,
    Data,
    Spec,
    figure,
    framed,
    listed_absences,
)
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.shown import ShownCase, finite
from pytest_servebench.reports.row import VALID

REST = "rest"
PARTS: Mapping[str, str] = {
    "queue": "var(--series-5)",
    "input": "var(--series-3)",
    "compute": "var(--series-1)",
    "output": "var(--series-4)",
    REST: "var(--series-6)",
}
_LINE_PX = 17
_LETTERS = 48
"""What fits beside each other on a phone."""
_TOO_LONG = 1.02
"""The server's own times by what the client saw: above it the two are not of the same requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The mean time of a request, in parts, in ms."""

    parts: Mapping[str, float]
    mean_ms: float
    """What the client saw."""

    @property
    def told_ms(self) -> float:
        """What the server told of."""
        return sum(value for name, value in self.parts.items() if name != REST)


def split_of(record: Record) -> Split | None:
    """Return the parts of a record; None where its server does not tell queue and compute.

    The rest is what nobody told of: the network, the client, preprocessing outside of the engine. It is
    left out where the server's times exceed the client's, as those of a window with few requests may.
    """
    telemetry = record["telemetry"]
    mean_ms = finite((record["response_time_ms"] or {}).get("mean"))
    queue, compute = (finite(telemetry.get(name)) for name in ("queue_time_ms", "compute_time_ms"))
    if mean_ms is None or queue is None or compute is None or telemetry.get("counters_offset_s") is None:
        return None
    within = {name: finite(telemetry.get(f"compute_{name}_ms")) for name in ("input", "infer", "output")}
    parts = {"queue": queue, "compute": compute}
    if (taken := within["input"]) is not None and (given := within["output"]) is not None:
        parts = {"queue": queue, "input": taken, "compute": compute - taken - given, "output": given}
    told = sum(parts.values())
    return Split(parts={**parts, REST: mean_ms - told} if told <= mean_ms else parts, mean_ms=mean_ms)


def time_split(cases: Sequence[ShownCase]) -> Plot:
    """Return stacked bars of the mean times; absent where no server told its own."""
    name, title = "time-split", "Where the time goes: mean of a request, ms"
    reading = (
        "queue: waiting in the server; input, compute, output: the engine's work on the batch that answered "
        "(a server that tells no parts has all of it in compute, TorchServe its preprocessing too); rest: "
        "the way there and back, the client, and preprocessing outside of the engine. Means of the window."
    )
    found = [(case, split) for case in cases if (split := _mean(case)) is not None]
    if not found:
        reasons = listed_absences([reason for case in cases for reason in _why_not(case)])
        absent = f"no server told how long requests waited and were computed: {reasons}"
        return Plot(name=name, title=title, reading=reading, absent=absent)
    says = f"Stacked bars of the mean time of a request by case. {_told(found)}"
    return Plot(name=name, title=title, reading=reading, spec=_spec(found, says), description=says)


def _mean(case: ShownCase) -> Split | None:
    """Return the mean of the valid repeats; means add up where medians would not."""
    believed = [record for record in case.records if record["validity"] == VALID] or list(case.records)
    splits = [split for record in believed if (split := split_of(record)) is not None]
    if not splits or len({tuple(split.parts) for split in splits}) > 1:
        return splits[0] if splits else None
    parts = {name: fmean(split.parts[name] for split in splits) for name in splits[0].parts}
    return Split(parts=parts, mean_ms=fmean(split.mean_ms for split in splits))


def _why_not(case: ShownCase) -> Iterator[str]:
    for record in case.records:
        absent = record["telemetry"].get("absent") or {}
        yield str(absent.get("queue_time_ms") or absent.get("counters_offset_s") or record["reason"])


def _told(found: Sequence[tuple[ShownCase, Split]], most: int = 8) -> str:
    more = f" And {len(found) - most} more cases." if len(found) > most else ""
    return " ".join(f"{case.whole_name}: {_words(split)}." for case, split in found[:most]) + more


def _words(split: Split) -> str:
    places = decimals([split.mean_ms]) + 1
    words = ", ".join(f"{name} {number(value, places)}" for name, value in split.parts.items())
    excess = split.told_ms > _TOO_LONG * split.mean_ms
    return f"{words} ms" + (f" (but the client saw {figure(split.mean_ms, 'ms')})" if excess else "")


def _spec(found: Sequence[tuple[ShownCase, Split]], says: str) -> Spec:
    ids: list[str] = []
    texts: list[Data] = []
    bars: list[Data] = []

    def line(text: str = "", colour: str = INK, weight: str = "normal") -> str:
        ids.append(f"{len(ids):03d}")
        if text:
            texts.append({"line": ids[-1], "text": text, "colour": colour, "weight": weight})
        return ids[-1]

    for _, alike in groupby(found, key=lambda each: each[0].group):
        group = list(alike)
        line(group[0][0].asked, weight="bold")
        scale = max(max(split.told_ms, split.mean_ms) for _, split in group) or 1.0
        for case, split in group:
            line(case.name, BAD if case.doubt else INK)
            bars += _segments(line(), case, split, scale)
            for words in wrap(_words(split), _LETTERS):
                line(words)
        line()
    return _framed(says, ids, texts, bars)


def _segments(line: str, case: ShownCase, split: Split, scale: float) -> Iterator[Data]:
    begin = 0.0
    for name, value in split.parts.items():
        told = f"{case.whole_name}: {name} {figure(value, 'ms')} of {figure(split.mean_ms, 'ms')}"
        end = begin + max(value, 0.0)
        opacity = 0.35 if case.doubt else 1.0
        yield {
            "line": line,
            "part": name,
            "begin": begin / scale,
            "end": end / scale,
            "says": told,
            "opacity": opacity,
        }
        begin = end


def _framed(says: str, ids: list[str], texts: list[Data], bars: list[Data]) -> Spec:
    y = {"field": "line", "type": "ordinal", "scale": {"domain": ids, "paddingInner": 0.12}, "axis": None}
    x = {"field": "begin", "type": "quantitative", "scale": {"domain": [0, 1]}, "axis": _AXIS}
    used = [name for name in PARTS if any(bar["part"] == name for bar in bars)]
    colour = {
        "field": "part",
        "type": "nominal",
        "scale": {"domain": used, "range": [PARTS[name] for name in used]},
        "legend": {"title": None, "orient": "top", "columns": 5},
    }
    opacity = {"field": "opacity", "type": "quantitative", "scale": None}
    says_it = {"description": {"field": "says"}, "tooltip": {"field": "says"}}
    bar = {"x": x, "x2": {"field": "end"}, "color": colour, "opacity": opacity, **says_it}
    text = {
        "x": {"value": 0},
        "text": {"field": "text"},
        "color": {"field": "colour", "type": "nominal", "scale": None},
    }
    mark = {"type": "text", "align": "left", "limit": {"expr": "width"}, "fontSize": FONT_PX}
    plain = [each for each in texts if each["weight"] == "normal"]
    bold = [each for each in texts if each["weight"] == "bold"]
    return framed(
        says,
        height=_LINE_PX * len(ids),
        encoding={"y": y},
        layer=[
            {"data": {"values": bars}, "mark": {"type": "bar", "stroke": PAPER}, "encoding": bar},
            {"data": {"values": plain}, "mark": mark, "encoding": text},
            {"data": {"values": bold}, "mark": {**mark, "fontWeight": "bold"}, "encoding": text},
        ],
    )


_AXIS: Spec = {"title": "ms; a scale for each group", "labels": False, "ticks": False, "grid": False}
