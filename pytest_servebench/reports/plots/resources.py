"""What serving takes and what it earns: a plot of bars for each figure, or why no case has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_servebench.comparison.replicates import Record
from pytest_servebench.reports.plots.bars import Measure, bars_spec
from pytest_servebench.reports.plots.look import listed_absences
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.reports.plots.saying import described
from pytest_servebench.reports.plots.shown import ShownCase


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resource:
    name: str
    title: str
    reading: str
    measure: Measure
    why_absent: Callable[[Record], Any]
    """What a record says of its absence."""
    best: Callable[..., float] | None = None


def _telemetry(figure: str) -> Callable[[Record], Any]:
    return lambda record: (record["telemetry"].get("absent") or {}).get(figure)


def _no_memory(record: Record) -> str:
    return str(_telemetry("server_memory_bytes")(record) or _telemetry("gpu_memory_bytes")(record) or "")


_EVERY = (
    _Resource(
        name="gpu-use",
        title="GPU use, %",
        reading="Share of time in which the GPU computed anything at all; a GPU at 100% may still have room.",
        measure=Measure(name="GPU use", unit="%", value=lambda row: row.gpu_utilization_percent),
        why_absent=_telemetry("gpu_utilization_percent"),
    ),
    _Resource(
        name="cpu-use",
        title="CPU use of the server, cores",
        reading="CPU seconds that the server's processes used per second of the measured window.",
        measure=Measure(name="CPU use", unit="cores", value=lambda row: row.server_cpu_cores),
        why_absent=_telemetry("server_cpu_cores"),
    ),
    _Resource(
        name="memory",
        title="Memory, GB",
        reading="The highest seen: of the GPU where one served, whoever used it, else of the server.",
        measure=Measure(name="memory", unit="GB", value=lambda row: row.memory_gb),
        why_absent=_no_memory,
        best=min,
    ),
    _Resource(
        name="batch-size",
        title="Mean batch size achieved, images",
        reading="Images per execution, by the server's own word; the tick marks the max batch size.",
        measure=Measure(
            name="mean batch size",
            unit="images",
            value=lambda row: row.batch_size_achieved,
            limit=lambda row: float(row.max_batch_size),
        ),
        why_absent=_telemetry("batch_size_achieved"),
    ),
    _Resource(
        name="images-per-gb",
        title="Images/s per GB of memory",
        reading="What the memory earns: throughput by memory. Longer is better.",
        measure=Measure(
            name="throughput per GB", unit="images/s per GB", value=lambda row: row.images_per_s_per_gb
        ),
        why_absent=lambda record: _no_memory(record) or record["reason"],
        best=max,
    ),
    _Resource(
        name="energy",
        title="Energy per image, J",
        reading="Energy of the whole GPU in the window, idle power too, by correct image. Shorter is better.",
        measure=Measure(name="energy", unit="J/image", value=lambda row: row.joules_per_image),
        why_absent=_telemetry("joules_per_image"),
        best=min,
    ),
    _Resource(
        name="efficiency",
        title="Serving efficiency, share of the model in process",
        reading="Images/s served by those of the same model in process, with no server. 1: serving is free.",
        measure=Measure(name="serving efficiency", unit="", value=lambda row: row.serving_efficiency),
        why_absent=lambda record: record.get("serving_efficiency_absent"),
        best=max,
    ),
    _Resource(
        name="cold-start",
        title="Cold start, s",
        reading="From launch to the first correct answer. Shorter is better.",
        measure=Measure(name="cold start", unit="s", value=lambda row: row.cold_start_s),
        why_absent=lambda _: "the servers ran already, so nobody saw them start",
        best=min,
    ),
)


def resources(cases: Sequence[ShownCase]) -> Iterator[Plot]:
    """Yield a plot for each figure of what serving takes."""
    for each in _EVERY:
        measure = each.measure
        plot = Plot(name=each.name, title=each.title, reading=each.reading)
        if all(measure.of(case.row) is None for case in cases):
            reasons = listed_absences(
                [str(each.why_absent(record) or "") for case in cases for record in case.records]
            )
            yield replace(plot, absent=f"no case has it: {reasons or 'the records do not say why'}")
        else:
            says = f"Bars of {measure.name} by case. {described(cases, measure, each.best)}"
            groups = {case.group for case in cases if measure.of(case.row) is not None}
            drawn = [case for case in cases if case.group in groups]
            spec = bars_spec(drawn, (measure,), axis=_axis(measure), says=says)
            yield replace(plot, spec=spec, description=says)


def _axis(measure: Measure) -> str:
    return (
        measure.unit
        if measure.unit and measure.unit != "%"
        else f"{measure.name}, {measure.unit}".removesuffix(", ")
    )
