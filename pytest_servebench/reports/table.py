"""Rows and columns of the result table: pure functions from plain records to cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_servebench.comparison.intervals import overlap
from pytest_servebench.plan import Precision
from pytest_servebench.reports.numbers import decimals, number
from pytest_servebench.reports.row import Row

PRECISION_HEADER = "precision"
BATCH_HEADER = "max\nbatch"
CPU_HEADER = "CPU\ncores"
GPU_HEADER = "GPU\n%"
POWER_HEADER = "GPU\nW"
ENERGY_HEADER = "mJ per\nimage"
EACH_GPU_HEADER = "images/s\nper GPU"
CAPACITY_HEADER = "holds\nper s"
EFFICIENCY_HEADER = "effi-\nciency"
LIMIT_HEADER = "limited\nby"
P95_SPREAD, SPEED_SPREAD = "p95\n+-%", "images/s\n+-%"
BEST = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: where its value comes from, which value wins, and when it may be left out."""

    header: str
    value: Callable[[Row], str | float | None]
    sacrifice: int
    """Columns with higher numbers go first when the terminal is narrow; 0 stays."""
    winner: Callable[[Sequence[float]], float] | None = None
    """`min` or `max`; None for a column without a race."""
    numeric: bool = True


def _spread(value: Callable[[Row], float | None]) -> Callable[[Row], str | None]:
    """Return a column's value: the longer arm of a figure's interval over repeats, in per cent of it."""

    def percent(row: Row) -> str | None:
        across = row.across(value)
        return None if across is None or across.width is None else f"{100 * across.width:.1f}"

    return percent


COLUMNS = (
    Column(header="stack", value=lambda row: row.stack, sacrifice=0, numeric=False),
    Column(header="format", value=lambda row: row.format, sacrifice=0, numeric=False),
    Column(header=PRECISION_HEADER, value=lambda row: row.precision, sacrifice=0, numeric=False),
    Column(header="model", value=lambda row: row.model, sacrifice=3, numeric=False),
    Column(header="payload", value=lambda row: row.payload, sacrifice=3, numeric=False),
    Column(header="protocol", value=lambda row: row.protocol, sacrifice=3, numeric=False),
    Column(header=BATCH_HEADER, value=lambda row: row.max_batch_size, sacrifice=2),
    Column(header="per\nrequest", value=lambda row: row.items_per_request, sacrifice=2),
    Column(header="load", value=lambda row: row.load, sacrifice=5, numeric=False),
    Column(header=CAPACITY_HEADER, value=lambda row: row.capacity_per_s, sacrifice=0, winner=max),
    Column(header="replies", value=lambda row: row.replies, sacrifice=8),
    Column(header="p50\nms", value=lambda row: row.response_time_p50_ms, sacrifice=4, winner=min),
    Column(header="p95\nms", value=lambda row: row.response_time_p95_ms, sacrifice=0, winner=min),
    Column(header=P95_SPREAD, value=_spread(lambda row: row.response_time_p95_ms), sacrifice=1),
    Column(header="p99\nms", value=lambda row: row.response_time_p99_ms, sacrifice=9),
    Column(header="service\np95 ms", value=lambda row: row.service_time_p95_ms, sacrifice=7),
    Column(header="send lag\np99 ms", value=lambda row: row.send_lag_p99_ms, sacrifice=12),
    Column(header="images/s", value=lambda row: row.images_per_s, sacrifice=0, winner=max),
    Column(header=SPEED_SPREAD, value=_spread(lambda row: row.images_per_s), sacrifice=1),
    # No race of its own: who is compared was given as many.
    Column(header=EACH_GPU_HEADER, value=lambda row: row.images_per_s_per_gpu, sacrifice=5),
    Column(header=EFFICIENCY_HEADER, value=lambda row: row.serving_efficiency, sacrifice=4, winner=max),
    Column(header=CPU_HEADER, value=lambda row: row.server_cpu_cores, sacrifice=6),
    Column(header=GPU_HEADER, value=lambda row: row.gpu_utilization_percent, sacrifice=6),
    Column(header=POWER_HEADER, value=lambda row: row.gpu_power_w, sacrifice=10),
    Column(header=ENERGY_HEADER, value=lambda row: row.millijoules_per_image, sacrifice=7, winner=min),
    Column(header="memory\nGB", value=lambda row: row.memory_gb, sacrifice=7),
    Column(header="images/s\nper GB", value=lambda row: row.images_per_s_per_gb, sacrifice=10, winner=max),
    Column(header="batch\nseen", value=lambda row: row.batch_size_achieved, sacrifice=8),
    Column(header="cold\nstart s", value=lambda row: row.cold_start_s, sacrifice=11),
    Column(header=LIMIT_HEADER, value=lambda row: row.limited_by, sacrifice=10, numeric=False),
    Column(header="verdict", value=lambda row: row.verdict, sacrifice=1, numeric=False),
)

OPEN_LOOP_HEADERS = ("service\np95 ms", "send lag\np99 ms")
"""Columns that say nothing new of a closed loop."""

TITLED = {
    PRECISION_HEADER: ", {}",
    "model": ", {}",
    "payload": ", {}",
    "protocol": " over {}",
    "per\nrequest": ", {} per request",
    "load": ", {}",
}
"""Columns that go into the title where all rows agree, and how they read there."""
TITLED_ON_THE_PAGE = {BATCH_HEADER: ", max batch {}", **TITLED}
"""Of the page, which leaves no column out: there are fewer so."""


def split_constants(rows: Sequence[Row], titled: Mapping[str, str] = TITLED) -> tuple[str, list[Column]]:
    """Return the title's words for what all rows share, of columns in ``titled``; and the other columns.

    The precision is told unless all is in fp32, which is what nobody asked for.
    The GPU column is shown where a GPU was asked for or read, the CPU column else; those of power and
    energy where a GPU told them, that of each GPU where a server was over several, those of an open loop
    where there is one, efficiency where a row has it.
    """
    words, columns = [], []
    unfit = _unfit(rows)
    for column in COLUMNS:
        values = {column.value(row) for row in rows}
        if column.header in unfit:
            continue
        if column.header in titled and len(values) == 1:
            words.append(titled[column.header].format(*values))
        else:
            columns.append(column)
    # Not a comma: cuda:0,1 is one server over two GPUs.
    devices = " or ".join(sorted({row.device for row in rows}))
    return "".join([*words, f", on {devices}"]).removeprefix(",").strip(), columns


def _unfit(rows: Sequence[Row]) -> set[str]:
    """Return the headers of columns that say nothing of these rows."""
    gpu = any(row.device != "cpu" or row.gpu_utilization_percent is not None for row in rows)
    unfit = {CPU_HEADER if gpu else GPU_HEADER}
    if all(row.precision == Precision.FP32 for row in rows):
        unfit.add(PRECISION_HEADER)
    if all(row.gpu_power_w is None for row in rows):
        unfit.add(POWER_HEADER)
    if all(row.joules_per_image is None for row in rows):
        unfit.add(ENERGY_HEADER)
    if all(row.gpus <= 1 for row in rows):
        unfit.add(EACH_GPU_HEADER)
    if not any(row.capacity for row in rows):
        unfit.add(CAPACITY_HEADER)
    if all(row.serving_efficiency is None for row in rows):
        unfit.add(EFFICIENCY_HEADER)
    if not any(row.open_loop for row in rows):
        unfit.update(OPEN_LOOP_HEADERS)
    if not any(row.replicates for row in rows):
        unfit.update((P95_SPREAD, SPEED_SPREAD))
    return unfit


def cells(column: Column, rows: Sequence[Row]) -> list[str]:
    """Return a column's cells: numbers with equal decimals, winners marked, the missing as ``n/a``."""
    values = [column.value(row) for row in rows]
    if not column.numeric:
        return [str(value) for value in values]
    places = decimals([value for value in values if isinstance(value, float)])
    won = winners(column, rows)
    return [BEST * (at in won) + _cell(value, places) for at, value in enumerate(values)]


def winners(column: Column, rows: Sequence[Row]) -> set[int]:
    """Return where the rows are that are best in their group; only valid rows race, and never alone.

    Where cases are repeated, none is best whose interval has a value in common with another's.
    """
    if column.winner is None:
        return set()
    found: set[int] = set()
    for group in dict.fromkeys(row.group for row in rows):
        racing = {
            at: float(value)
            for at, row in enumerate(rows)
            if row.group == group and row.is_believed and (value := column.value(row)) is not None
        }
        if len(racing) > 1:
            best = column.winner(list(racing.values()))
            first = {at for at, value in racing.items() if value == best}
            others = [rows[at] for at in racing if at not in first]
            found |= {at for at in first if _stands_out(column, rows[at], others)}
    return found


def _stands_out(column: Column, best: Row, others: Sequence[Row]) -> bool:
    """Return whether the best is so beyond chance, as far as there are replicates to tell."""
    if not any(row.replicates for row in (best, *others)):
        return True
    own, *rest = (row.across(column.value) for row in (best, *others))
    if own is None or own.interval is None or not rest:
        return False
    return not any(one is None or one.interval is None or overlap(own.interval, one.interval) for one in rest)


def _cell(value: str | float | None, places: int) -> str:
    return str(value) if isinstance(value, (str, int)) else number(value, places)
