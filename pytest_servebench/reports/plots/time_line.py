"""The time line of a load: what was offered, sent and answered, and how long replies took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.plots.look import Data, chooser, figure
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.shown import ShownCase, finite
from pytest_servebench.reports.plots.time_line_spec import time_line_spec
from pytest_servebench.reports.row import VALID

READING = (
    "Above: requests per second that the schedule offered (of an open loop), sent, answered rightly, failed "
    "and dropped. Below: p95 of the replies that ended in each slice. The grey band is the warm-up, which "
    "counts nowhere; upright lines are borders of stages. Sent below offered: the client or its cap held "
    "back. Right below sent for long: the server falls behind."
)
_MISSED = ("failed", "dropped")
"""Drawn where there is any."""
_RIGHT = 0.6
"""Share of the load after which a stage's name is written to the left of its end."""
_COUNTED = ("offered", "sent", "correct", "failed", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLine:
    """The load of one record, for drawing."""

    words: str
    """The case, what was asked, and its doubt."""
    slices: tuple[Data, ...]
    """Rates per second and p95 in ms; what is missing is not there."""
    stages: tuple[Data, ...]
    warm_up: Data
    failed: int
    """Requests that failed or were dropped, in all slices."""


def time_lines(cases: Sequence[ShownCase]) -> Iterator[Plot]:
    """Yield a plot for each staged load, then one for all others, with a choice among them."""
    found = [
        (case, record, line) for case in cases if (record := _typical(case)) and (line := _line(case, record))
    ]
    staged = [line for _, record, line in found if record.get("stages")]
    others = [line for _, record, line in found if not record.get("stages")]
    for number, line in enumerate(staged, 1):
        yield _plot(f"time-line-{number}", f"Staged load over time: {line.words}", [line])
    if others:
        yield _plot("time-line", "Load over time, requests/s and ms", others)
    elif not staged:
        absent = "no record has a time line of its load"
        yield Plot(name="time-line", title="Load over time", reading=READING, absent=absent)


def _plot(name: str, title: str, lines: Sequence[TimeLine]) -> Plot:
    says = f"Requests per second and p95 over time. {_told(lines)}"
    several = chooser("line", "case: ", [line.words for line in lines])
    slices = [{"at": at, **each} for at, line in enumerate(lines) for each in line.slices]
    stages = [{"at": at, **each} for at, line in enumerate(lines) for each in line.stages]
    warm_ups = [{"at": at, **line.warm_up} for at, line in enumerate(lines) if line.warm_up]
    spec = time_line_spec(slices=slices, stages=stages, warm_ups=warm_ups, params=several, says=says)
    reading = (
        READING if len(lines) == 1 else f"{READING} Of repeats the middle one is shown, or one in doubt."
    )
    return Plot(name=name, title=title, reading=reading, spec=spec, description=says)


def _typical(case: ShownCase) -> Record | None:
    """Return the record of a case that is looked at: of repeats one in doubt, else that of the middle p95."""
    doubtful = [record for record in case.records if record["validity"] != VALID]
    if doubtful or not case.records:
        return doubtful[0] if doubtful else None
    ordered = sorted(case.records, key=lambda each: finite(each["response_time_ms"].get("p95")) or 0.0)
    return ordered[len(ordered) // 2]


def _line(case: ShownCase, record: Record) -> TimeLine | None:
    columns: Mapping[str, Any] = record.get("timeline") or {}
    slices = tuple(_slices(columns, open_loop=case.row.open_loop))
    if not slices:
        return None
    first = min(each["s"] for each in slices)
    failed = sum(int(finite(each) or 0) for name in _MISSED for each in columns.get(name) or ())
    return TimeLine(
        words=case.whole_name,
        slices=slices,
        stages=tuple(_stages(record)),
        warm_up={"begin": first, "end": 0} if first < 0 else {},
        failed=failed,
    )


def _slices(columns: Mapping[str, Any], *, open_loop: bool) -> Iterator[Data]:
    """Yield a slice at its begin, and the last one's end, so that steps have their whole length."""
    begins, lengths = columns.get("begin_s") or (), columns.get("length_s") or ()
    asked = _COUNTED if open_loop else _COUNTED[1:]
    counted = [name for name in asked if name not in _MISSED or any(columns.get(name) or ())]
    slice_: Data = {}
    for at, (begin, length) in enumerate(zip(begins, lengths, strict=False)):
        if finite(begin) is None or not finite(length):
            continue
        slice_ = {"s": begin, "end": round(begin + length, 4)}
        for name in counted:
            count = finite((columns.get(name) or {at: None})[at])
            if count is not None:
                slice_[name] = float(f"{count / length:.4g}")
        p95 = finite((columns.get("response_time_p95_ms") or {at: None})[at])
        if p95 is not None:
            slice_["p95"] = p95
        yield slice_
    if slice_:
        yield {**slice_, "s": slice_["end"]}


def _stages(record: Record) -> Iterator[Data]:
    """Yield the stages on the time line's clock, which begins with the window."""
    warm_up_s = finite(record.get("warmup_s")) or 0.0
    stages = record.get("stages") or ()
    whole = (
        max((finite(each.get("begin_s")) or 0.0) + (finite(each.get("ran_s")) or 0.0) for each in stages)
        if stages
        else 0.0
    )
    for stage in stages:
        begin, ran = finite(stage.get("begin_s")), finite(stage.get("ran_s"))
        if begin is None or not ran:
            continue
        rates = [f"{stage[name]:g}" for name in ("begin_per_s", "end_per_s")]
        to = f"{rates[0]} to {rates[1]}/s" if rates[0] != rates[1] else f"{rates[0]}/s"
        at_right = begin + ran / 2 > _RIGHT * whole
        yield {
            "side": "end" if at_right else "begin",
            "begin": round(begin - warm_up_s, 4),
            "end": round(begin - warm_up_s + ran, 4),
            "text": f"{stage['number']} {stage['kind']} {to}",
            "row": 8 + 15 * ((stage["number"] - 1) % 3),
            "says": f"stage {stage['number']}, {stage['kind']}, {to}: {stage.get('verdict')}. "
            f"{stage.get('reason') or ''}",
        }


def _told(lines: Sequence[TimeLine], most: int = 8) -> str:
    sentences = [_sentence(line) for line in lines[:most]]
    more = len(lines) - most
    return " ".join([*sentences, *([f"And {more} more cases."] if more > 0 else [])])


def _sentence(line: TimeLine) -> str:
    parts = []
    for name, unit, words in (("correct", "requests/s", "right answers"), ("p95", "ms", "p95")):
        values = [each[name] for each in line.slices if name in each and each["s"] >= 0]
        if values:
            parts.append(f"{words} {figure(min(values), unit)} to {figure(max(values), unit)}")
    stages = f", {len(line.stages)} stages" if line.stages else ""
    wrong = f"{line.failed} failed or dropped" if line.failed else "none failed"
    return f"{line.words}{stages}: {'; '.join([*parts, wrong])}."
