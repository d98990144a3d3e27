"""Made-up runs for tests of ``report.html``, and the page as a tree that a test can look into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.plan import ModelFormat, Precision
from pytest_servebench.record import make_record
from pytest_servebench.reports.findings.finding import Answer, Claim, Findings, Winner
from pytest_servebench.reports.page.document import page_of
from pytest_servebench.reports.plots.plot import Plot
from pytest_servebench.results import Validity
from pytest_servebench.staged.judged import stage_results
from tests.made_up import SETTINGS, made_up_case, made_up_result
from tests.saved_records import MACHINE, repeats, saved_record
from tests.staged_loads import served, staged_load

RECORDS = Path(__file__).parent / "records"
VOID = frozenset({"meta", "br", "img", "input", "link", "hr"})
ASKED = "test_speed: resnet50, 16 in flight"
SPEEDS = {"fastapi": 1.0, "triton": 0.5, "torchserve": 12.0}
"""How many times slower than the usual; in the order of measuring, which is not that of speed."""
GPUS = {"gpus": ["RTX 4090", "RTX 4090"]}
GPU_READ = {
    "gpu_name": "RTX 4090",
    "gpu_scope": "processes",
    "gpu_utilization_percent": 87.5,
    "gpu_memory_bytes": 2_400_000_000,
    "gpu_power_w": 412.5,
    "joules_per_image": 0.125,
}
"""Made up: what a GPU that was read would add to a record."""


def a_run(name: str = "monday", *, slower: float = 1.0) -> SavedRun:
    """Return three stacks, a case with wrong answers and so no figures, and one repeated, asked otherwise."""
    records = [saved_record(stack=stack, slower=slower * times) for stack, times in SPEEDS.items()]
    wrong = {"validity": Validity.WRONG_OUTPUT, "reason": "7 of 8 answers differ: from the reference"}
    records.append(saved_record(model_format=ModelFormat.PYTORCH, result=wrong))
    records += repeats(3, stack="triton", model_format=ModelFormat.PYTORCH, batch=16)
    facts = {"run_id": name, "started": "2026-11-20T08:00:00+00:00", "plan": {"device_reason": "asked for"}}
    return SavedRun(name=name, records=tuple(records), facts=(facts,))


def a_measured_run() -> SavedRun:
    """Return what real servers were measured at: two stacks at three loads, repeats, stages, a capacity."""
    closed, repeat, staged, capacity = (
        json.loads((RECORDS / f"{name}.json").read_text())
        for name in ("closed", "repeat", "staged", "capacity")
    )
    loads = [
        {
            **closed,
            "case": {**closed["case"], "stack": stack},
            "load": {**closed["load"], "concurrency": concurrency},
            "images_per_s": closed["images_per_s"] * (1 + concurrency / 10),
            "test": f"bench/test_it.py::test_speed[{stack}-c{concurrency}]",
        }
        for stack in ("fastapi", "triton")
        for concurrency in (1, 2, 4)
    ]
    return SavedRun(name="measured", records=(*loads, repeat, staged, capacity))


def a_gpu_run(name: str = "gpu", *, slower: float = 1.0, **telemetry: Any) -> SavedRun:
    """Return what no GPU has measured: every stack, in four precisions, as one server over two GPUs."""
    read = {**GPU_READ, **telemetry}
    records = [
        _in_precision(
            saved_record(stack=stack, slower=slower * times / (1 + at), machine=GPUS), precision, read
        )
        for stack, times in SPEEDS.items()
        for at, precision in enumerate((Precision.FP32, Precision.TF32, Precision.FP16, Precision.INT8))
    ]
    facts = {"run_id": name, "started": "2026-11-20T08:00:00+00:00", "plan": {"device_reason": "asked for"}}
    return SavedRun(name=name, records=tuple(records), facts=(facts,))


def _in_precision(record: dict[str, Any], precision: Precision, read: dict[str, Any]) -> dict[str, Any]:
    case = {**record["case"], "precision": str(precision), "device": "cuda:0,1"}
    test = (
        record["test"].replace("onnx", f"onnx-{precision}") if precision != Precision.FP32 else record["test"]
    )
    return {**record, "case": case, "test": test, "telemetry": {**record["telemetry"], **read}}


def a_staged_run() -> SavedRun:
    """Return one case under a staged load."""
    load = staged_load()
    result = made_up_result(case=replace(made_up_case(), load=load), stages=stage_results(served(load), load))
    record = {**make_record(result, plan=SETTINGS, machine=MACHINE), "benchmark": "test_profile"}
    return SavedRun(name="staged", records=(record,))


def a_winner(**changes: Any) -> Winner:
    """Return a winner that was measured once."""
    given: dict[str, Any] = {
        "figure": "lowest p95",
        "asked": ASKED,
        "case": "triton onnx",
        "value": 4.275,
        "unit": "ms",
        "runner_up": "fastapi onnx",
        "margin": 0.5,
    }
    return Winner(**{**given, **changes})


FINDINGS = Findings(
    winners=(a_winner(), a_winner(figure="highest throughput", value=2.0, unit="images/s")),
    trade_offs=("triton takes twice the memory",),
    claims=(
        Claim(
            name="dynamic-batching",
            text="dynamic batching gives 2 to 3 times the throughput",
            answer=Answer.NOT_MEASURABLE,
            reason="there is one batch size only",
        ),
        Claim(
            name="onnx",
            text="ONNX is 15 to 20% faster",
            answer=Answer.CONFIRMED,
            reason="as measured",
            value=1.17,
            unit="times",
            interval=(1.15, 1.19),
        ),
    ),
    bottlenecks=(("triton onnx", "compute: 97% of the time"),),
)
PLOTS = (
    Plot(
        name="times",
        title="Response time, ms",
        reading="Shorter is better.",
        description="triton onnx is fastest",
        spec={
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "width": "container",
            "data": {"values": [{"case": "triton </script><b>", "ms": 4.3}, {"case": "fastapi", "ms": 8.6}]},
            "transform": [{"calculate": "datum.ms * 2", "as": "twice"}],
            "mark": {"type": "bar", "color": "var(--series-1)"},
            "encoding": {
                "x": {"field": "twice", "type": "quantitative"},
                "y": {"field": "case", "type": "nominal"},
            },
        },
    ),
    Plot(name="gpu", title="GPU use, %", reading="How busy it was.", absent="no case ran on a GPU"),
)


def a_page(*runs: SavedRun, found: Findings = FINDINGS, plots: tuple[Plot, ...] = PLOTS) -> str:
    """Return the page of runs; of the usual one if none is given."""
    shown = runs or (a_run(),)
    return page_of(shown, found=[found] * len(shown), plots=plots)


@dataclass(eq=False)
class Element:
    """An element of the page."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All its text, as a reader sees it, with single spaces."""
        words = (each if isinstance(each, str) else each.text for each in self.children)
        return " ".join(" ".join(words).split())

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def all(self, tag: str = "", **attributes: str) -> Iterator[Element]:
        """Yield the elements inside with this tag and these attributes; ``class_`` is one of its classes."""
        for child in self.children:
            if isinstance(child, Element):
                if (not tag or child.tag == tag) and child._has(attributes):
                    yield child
                yield from child.all(tag, **attributes)

    def one(self, tag: str = "", **attributes: str) -> Element:
        """Return the only one."""
        (found,) = self.all(tag, **attributes)
        return found

    def _has(self, wanted: dict[str, str]) -> bool:
        return all(
            value in self.classes if name == "class_" else self.attributes.get(name.strip("_")) == value
            for name, value in wanted.items()
        )


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>, line {self.getpos()[0]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(html: str) -> Element:
    """Return the page's tree; every element must be closed where it should be."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is not closed"
    return reader.open[0]


def cells_of(table: Element, heading: str) -> list[Element]:
    """Return a table's column below a heading, from its first body row on."""
    heads = [head.text for head in table.one("thead").all("th")]
    rows = [
        [each for each in row.children if isinstance(each, Element)] for row in table.one("tbody").all("tr")
    ]
    return [row[heads.index(heading)] for row in rows]
