"""What the pictures of a report show: cases that were asked alike, a bar for each figure (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.intervals import Interval
from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.reports.repeats import joined_rows
from pytest_servebench.reports.row import VALID, Row
from pytest_servebench.reports.table import COLUMNS, winners

Figure = Callable[[Row], "float | None"]
_RACES = {column.header: column for column in COLUMNS if column.winner is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One figure of every case, and how an axis names it."""

    title: str
    axis: str
    """With its unit: ``response time, ms``."""
    of: Figure
    race: str = ""
    """The table's column in which the best is marked; empty: nothing is best in it."""
    key: str = ""
    """Under which a record's telemetry says why it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One figure of one case; ``value`` is None where it is missing, and then there is no bar."""

    value: float | None
    interval: Interval | None = None
    """95%, over repeats; None: nothing tells it."""
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One case of one run."""

    row: Row
    run: str = ""
    """The run's name where there are several."""
    best: frozenset[str] = frozenset()
    """The table's columns in which it is the best of its run."""

    @property
    def label(self) -> str:
        """Stack, format and unusual precision, and the run where there are several."""
        return f"{self.row.stack} {self.row.form}" + (f", {self.run}" if self.run else "")

    @property
    def doubt(self) -> str:
        """Why it may not be believed, in a word or two; empty: it may."""
        row = self.row
        if row.is_believed:
            return ""
        if row.validity == VALID:
            return f"{len(row.valid)} of {row.wanted} repeats"
        return f"{row.validity} {len(row.valid)}/{row.wanted}" if row.replicates else row.validity

    def bar(self, quantity: Quantity) -> Bar:
        """Return the bar of a figure."""
        across = self.row.across(quantity.of)
        return Bar(
            value=quantity.of(self.row),
            interval=None if across is None else across.interval,
            is_best=quantity.race in self.best,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cases that were asked alike."""

    title: str
    """What they share and other groups do not."""
    cases: tuple[Shown, ...]


def batching_percent(row: Row) -> float | None:
    """Return how full a case's batches were; None where nobody told, or where a batch is one image."""
    if row.batch_size_achieved is None or row.max_batch_size == 1:
        return None
    return 100 * row.batch_size_achieved / row.max_batch_size


PERCENTILES: Mapping[str, Quantity] = {
    "p50": Quantity(
        title="Response time",
        axis="response time, ms",
        of=lambda row: row.response_time_p50_ms,
        race="p50\nms",
    ),
    "p95": Quantity(
        title="Response time",
        axis="response time, ms",
        of=lambda row: row.response_time_p95_ms,
        race="p95\nms",
    ),
    "p99": Quantity(title="Response time", axis="response time, ms", of=lambda row: row.response_time_p99_ms),
}
THROUGHPUT = Quantity(
    title="Throughput", axis="throughput, images/s", of=lambda row: row.images_per_s, race="images/s"
)
GPU_USE = Quantity(
    title="GPU use",
    axis="GPU use, %",
    of=lambda row: row.gpu_utilization_percent,
    key="gpu_utilization_percent",
)
CPU_USE = Quantity(
    title="CPU use (no GPU was read)",
    axis="CPU of the server, cores",
    of=lambda row: row.server_cpu_cores,
    key="server_cpu_cores",
)
MEMORY = Quantity(
    title="Memory (of the GPU; without one, of the server's processes)",
    axis="memory, GB",
    of=lambda row: row.memory_gb,
    key="server_memory_bytes",
)
BATCHING = Quantity(
    title="Batching efficiency: mean batch, as a share of the max batch",
    axis="mean batch / max batch, %",
    of=batching_percent,
    key="batch_size_achieved",
)
EARNED = Quantity(
    title="What the memory earns",
    axis="throughput per memory, images/s per GB",
    of=lambda row: row.images_per_s_per_gb,
    race="images/s\nper GB",
    key="server_memory_bytes",
)


def resources_of(rows: Sequence[Row]) -> tuple[Quantity, ...]:
    """Return the four figures of the resource picture: with a GPU its use, else the CPU's."""
    gpu = any(row.gpu_utilization_percent is not None for row in rows)
    return (GPU_USE if gpu else CPU_USE, MEMORY, BATCHING, EARNED)


def groups_of(runs: Sequence[SavedRun]) -> tuple[str, tuple[Group, ...]]:
    """Return in words what all cases share, and the groups of those that were asked alike.

    Groups come in order of first appearance; in them the runs of one case stand side by side.
    """
    shown = [case for run in _named(runs) for case in _shown(*run)]
    words = [_asked(case.row) for case in shown]
    common = {name for name in (words[0] if words else ()) if len({each[name] for each in words}) == 1}
    groups = []
    for key in dict.fromkeys(case.row.group for case in shown):
        cases = [case for case in shown if case.row.group == key]
        own = [word for name, word in _asked(cases[0].row).items() if name not in common and word]
        order = list(dict.fromkeys((case.row.stack, case.row.form) for case in cases))
        cases.sort(key=lambda case: order.index((case.row.stack, case.row.form)))
        groups.append(Group(title=", ".join(own), cases=tuple(cases)))
    shared = [word for name, word in words[0].items() if name in common and word] if words else []
    return ", ".join(shared), tuple(groups)


def why_absent(quantity: Quantity, runs: Sequence[SavedRun], rows: Sequence[Row]) -> str:
    """Return why a figure is missing of all cases, as most records say; empty where one has it."""
    if any(quantity.of(row) is not None for row in rows):
        return ""
    if quantity is BATCHING and rows and all(row.max_batch_size == 1 for row in rows):
        return "the max batch is 1 in every case: there is nothing to batch"
    records = [record for run in runs for record in run.records]
    reasons = Counter(
        str(why)
        for record in records
        if (why := ((record.get("telemetry") or {}).get("absent") or {}).get(quantity.key))
    )
    if quantity.race and all(row.images_per_s is None for row in rows):
        return "no case has a throughput that may be published"
    why = reasons.most_common(1)
    return f"not reported: {why[0][0]}" if why else "not reported"


def _shown(name: str, run: SavedRun) -> list[Shown]:
    """Return the cases of a run, each with the columns in which it is the best."""
    rows = joined_rows(run.records)
    won = {header: winners(column, rows) for header, column in _RACES.items()}
    return [
        Shown(row=row, run=name, best=frozenset(header for header, places in won.items() if at in places))
        for at, row in enumerate(rows)
    ]


def _named(runs: Sequence[SavedRun]) -> list[tuple[str, SavedRun]]:
    """Return runs with names that tell them apart; a single one needs none."""
    if len(runs) == 1:
        return [("", runs[0])]
    times = Counter(run.name for run in runs)
    return [
        (f"{run.name} ({number})" if times[run.name] > 1 else run.name, run)
        for number, run in enumerate(runs, 1)
    ]


def _asked(row: Row) -> dict[str, str]:
    """Return what `Row.group` has, in words."""
    return {
        "benchmark": row.benchmark,
        "model": row.model,
        "wire": f"{row.payload} over {row.protocol}",
        "batch": f"max batch {row.max_batch_size}",
        "items": f"{row.items_per_request} image{'s' * (row.items_per_request > 1)} per request",
        "load": row.load,
        "device": f"on {row.device}",
    }
