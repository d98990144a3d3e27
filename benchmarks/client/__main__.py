"""``python -m benchmarks.client``: our sender beside others, on one null server, in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.client.grpc_peers import grpc_peers
from benchmarks.client.measuring import Plan, Reading, rounds
from benchmarks.client.memory import footprints, growth_line, memory_table
from benchmarks.client.null_grpc_server import serving_grpc
from benchmarks.client.null_server import compile_server, serving
from benchmarks.client.peers import Peer, all_peers
from benchmarks.client.table import absent_of, aims_of, as_json, rows_of, shared_of, table_of
from benchmarks.client.truth import CASES, find, truth_table
from benchmarks.client.workers import aim_line, turns, workers_table
from pytest_servebench.errors import ServebenchError

PAYLOADS_BYTES = (500, 60_000, 602_112)
LONG_BYTES = 19_267_584
TENSOR_BYTES = 602_112
HTTP, GRPC = "http", "grpc"


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write ``--json``; return the exit code."""
    asked = _parser().parse_args(words)
    if asked.memory:
        return _show_memory()
    if asked.workers:
        return _show_workers(asked)
    return _show_truth(asked) if asked.truth else _compare(asked)


def _compare(asked: argparse.Namespace) -> int:
    console = Console(width=None if sys.stdout.isatty() else 130)
    try:
        found = {over: _compare_over(over, asked, console) for over in asked.over or (HTTP, GRPC)}
    except ServebenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if asked.json:
        Path(asked.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _compare_over(over: str, asked: argparse.Namespace, console: Console) -> dict[str, object]:
    every = grpc_peers() if over == GRPC else all_peers()
    peers = [peer for peer in every if peer.name not in asked.without]
    present = [peer for peer in peers if peer.missing is None]
    measured = _measured_grpc if over == GRPC else _measured
    readings = measured(asked, present, Console(stderr=True)) if present else []
    rows = rows_of(readings, present[0].name) if present else []
    if rows:
        console.print(table_of(rows, over))
    for line in (*aims_of(readings), *shared_of(rows), *absent_of(peers)):
        console.print(line, highlight=False)
    return as_json(rows, readings)


def _show_truth(asked: argparse.Namespace) -> int:
    try:
        findings = [find(case, _plan(asked)) for case in CASES]
    except ServebenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    Console(width=None if sys.stdout.isatty() else 130).print(truth_table(findings))
    return 0


def _show_memory() -> int:
    found = footprints()
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(memory_table(found))
    console.print(growth_line(found), highlight=False)
    return 0


def _show_workers(asked: argparse.Namespace) -> int:
    try:
        found = list(turns(asked.rounds, asked.window, asked.in_flight))
    except ServebenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(workers_table(found))
    console.print(aim_line(found), highlight=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="how often each client has its turn")
    parser.add_argument("--window", type=float, default=0.7, help="seconds measured of each turn")
    parser.add_argument("--settle", type=float, default=0.25, help="seconds between first request and window")
    parser.add_argument("--in-flight", type=int, default=8, help="requests in flight")
    parser.add_argument("--payload", type=int, action="append", help="bytes of a body; may be repeated")
    parser.add_argument("--long", action="store_true", help=f"also bodies of {LONG_BYTES:,} bytes")
    parser.add_argument(
        "--over",
        choices=(HTTP, GRPC),
        action="append",
        help="compare over this protocol only; may be repeated",
    )
    parser.add_argument("--truth", action="store_true", help="instead: what ours reports, and what was true")
    parser.add_argument("--memory", action="store_true", help="instead: memory by the number of requests")
    parser.add_argument("--workers", action="store_true", help="instead: what a second worker adds")
    parser.add_argument("--without", action="append", default=[], help="a client to leave out")
    parser.add_argument("--json", help="file for the rows and every window")
    return parser


def _measured(asked: argparse.Namespace, peers: Sequence[Peer], console: Console) -> list[Reading]:
    plan = _plan(asked)
    sizes = [*(asked.payload or PAYLOADS_BYTES), *([LONG_BYTES] if asked.long else [])]
    with tempfile.TemporaryDirectory(prefix="null-server-") as name, console.status("compiling") as status:
        folder = Path(name)
        bodies = [_body(folder, size) for size in sizes]
        readings = []
        total = asked.rounds * len(bodies) * len(peers)
        with serving(compile_server(folder), folder, plan.server_core) as server:
            for reading in rounds(peers, bodies, plan, server, asked.rounds):
                readings.append(reading)
                status.update(f"window {len(readings)} of {total}: {reading.peer}")
    return readings


def _measured_grpc(asked: argparse.Namespace, peers: Sequence[Peer], console: Console) -> list[Reading]:
    plan = _plan(asked)
    readings = []
    with tempfile.TemporaryDirectory(prefix="null-grpc-server-") as name, console.status("grpc") as status:
        folder = Path(name)
        for size in asked.payload or [TENSOR_BYTES]:
            body = _body(folder, size)
            with serving_grpc(folder, plan.server_core, size) as server:
                for reading in rounds(peers, [body], plan, server, asked.rounds):
                    readings.append(reading)
                    status.update(f"gRPC, window {len(readings)}: {reading.peer}")
    return readings


def _plan(asked: argparse.Namespace) -> Plan:
    """Give client and server a core of their own where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    client_core, server_core = cores[:2] if len(cores) > 1 else (None, None)
    return Plan(
        in_flight=asked.in_flight,
        settle_s=asked.settle,
        window_s=asked.window,
        client_core=client_core,
        server_core=server_core,
    )


def _body(folder: Path, size: int) -> Path:
    path = folder / f"body-{size}"
    path.write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
    return path


if __name__ == "__main__":
    sys.exit(main())
