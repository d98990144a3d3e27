"""What the rounds say: ratios to one client, round by round, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from benchmarks.client.grpc_peers import OURS_GRPC, PERF_ANALYZER
from benchmarks.client.measuring import Reading
from benchmarks.client.peers import OURS, Peer

AIMS = (
    (500, "wrk", 0.95),
    (60_000, "wrk", 0.95),
    (60_000, "k6", 12.0),
    (60_000, "locust", 8.0),
    (602_112, "wrk", 0.98),
    (19_267_584, "wrk", 1.0),
)
"""By payload and other client: how many times its requests per second of CPU ours is to reach."""

GRPC_AIMS = ((602_112, PERF_ANALYZER, 2.0),)
"""The same over gRPC: half of its CPU a request."""

FILLED = 0.8
"""A share of a core from which on it counts as used up."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and the least and the most it is the median of."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f}  {self.least:.2f}..{self.most:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One client with one payload; ratios are taken within a round and then summarised."""

    peer: str
    base: str
    payload_bytes: int
    per_cpu_s_ratio: Spread
    per_s_ratio: Spread
    client_cpu_us: Spread
    """CPU microseconds per request."""
    per_s: Spread
    client_share: float
    """CPU seconds per second of the client, median: 1 when it fills its core."""
    server_share: float
    """The same of the server: near 1 it is the bottleneck of requests/s, not of requests per CPU second."""


def rows_of(readings: Sequence[Reading], base: str) -> list[Row]:
    """Return one row for each client and payload, best first within a payload."""
    sizes = sorted({reading.payload_bytes for reading in readings})
    found = []
    for size in sizes:
        here = [reading for reading in readings if reading.payload_bytes == size]
        names = dict.fromkeys(reading.peer for reading in here)
        rows = [_row(name, base, [each for each in here if each.peer in {name, base}]) for name in names]
        found += sorted(rows, key=lambda row: -row.per_cpu_s_ratio.median)
    return found


def _row(name: str, base: str, readings: Sequence[Reading]) -> Row:
    own = [reading for reading in readings if reading.peer == name]
    bases = {reading.round: reading for reading in readings if reading.peer == base}
    pairs = [(reading, bases[reading.round]) for reading in own]
    return Row(
        peer=name,
        base=base,
        payload_bytes=own[0].payload_bytes,
        per_cpu_s_ratio=Spread.of([a.per_cpu_s / b.per_cpu_s for a, b in pairs]),
        per_s_ratio=Spread.of([a.per_s / b.per_s for a, b in pairs]),
        client_cpu_us=Spread.of([1e6 / reading.per_cpu_s for reading in own]),
        per_s=Spread.of([reading.per_s for reading in own]),
        client_share=statistics.median(reading.client_cpu_s / reading.wall_s for reading in own),
        server_share=statistics.median(reading.server_cpu_s / reading.wall_s for reading in own),
    )


def table_of(rows: Sequence[Row], over: str) -> Table:
    """Return the table; ratios are medians over the rounds, with the least and the most."""
    base = rows[0].base
    table = Table(title=f"Clients on one null server over {over}; ratios to {base} in the same round")
    for name in ("payload, bytes", "client"):
        table.add_column(name)
    heads = (f"req per CPU s / {base}", f"req/s / {base}", "CPU us/req", "req/s", "client", "server")
    for name in heads:
        table.add_column(name, justify="right")
    for before, row in zip((None, *rows[:-1]), rows, strict=True):
        if before is not None and before.payload_bytes != row.payload_bytes:
            table.add_section()
        table.add_row(
            f"{row.payload_bytes:,}",
            row.peer,
            str(row.per_cpu_s_ratio),
            str(row.per_s_ratio),
            f"{row.client_cpu_us.median:.1f}",
            f"{row.per_s.median:,.0f}",
            f"{row.client_share:.2f}",
            f"{row.server_share:.2f}",
        )
    return table


def aims_of(readings: Sequence[Reading]) -> list[str]:
    """Return one sentence for each aim whose clients were measured; judged by the median over the rounds."""
    found = []
    aims = [(OURS, *aim) for aim in AIMS] + [(OURS_GRPC, *aim) for aim in GRPC_AIMS]
    for ours, size, other, aim in aims:
        here = [reading for reading in readings if reading.payload_bytes == size]
        if {ours, other} <= {reading.peer for reading in here}:
            ratio = _row(ours, other, here).per_cpu_s_ratio
            word = "met" if ratio.median >= aim else "MISSED"
            found.append(f"{size:,} bytes: aim {aim:g} of {other}, {word} with {ratio}")
    return found


def shared_of(rows: Sequence[Row]) -> list[str]:
    """Return a warning for each row whose client could not fill its core though the server had time."""
    return [
        f"{row.payload_bytes:,} bytes, {row.peer}: others used its core, or it waited; do not trust its req/s"
        for row in rows
        if row.client_share < FILLED and row.server_share < FILLED
    ]


def absent_of(peers: Sequence[Peer]) -> list[str]:
    """Return one sentence for each client that cannot run here, with the command that installs it."""
    return [f"{peer.name} is absent: {peer.missing.remedy}" for peer in peers if peer.missing is not None]


def as_json(rows: Sequence[Row], readings: Sequence[Reading]) -> dict[str, object]:
    """Return everything: the rows of the table, and every window they come from."""
    return {"rows": [asdict(row) for row in rows], "readings": [asdict(each) for each in readings]}
