"""The clients that are compared over gRPC, with tensors of the same size on one null server."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.client.peers import Peer, Start, Task, absent_module, python
from benchmarks.client.senders.infer_request import MODEL
from pytest_servebench.plan import MissingPiece

OURS_GRPC = "ours-grpc"
PERF_ANALYZER = "perf_analyzer"
LONG_MS = 60_000
"""A measurement interval longer than any window: it is ended from outside."""


def grpc_peers() -> tuple[Peer, ...]:
    """Return every peer, present or not; the first present one is what the others are compared with."""
    tritonclient = absent_module("tritonclient", 'pip install "tritonclient[grpc]"')
    return (
        Peer(PERF_ANALYZER, _perf_analyzer, _absent_perf_analyzer()),
        Peer(OURS_GRPC, python("ours_grpc"), absent_module("hpack") or tritonclient, tells=True),
        Peer("grpcio", python("with_grpcio"), absent_module("grpc", "pip install grpcio"), tells=True),
        Peer("tritonclient", python("with_tritonclient"), tritonclient, tells=True),
    )


def perf_analyzer_path() -> str | None:
    """Return the binary beside this interpreter (package ``perf-analyzer``) or on PATH."""
    beside = shutil.which(PERF_ANALYZER, path=str(Path(sys.executable).parent))
    return beside or shutil.which(PERF_ANALYZER)


def _absent_perf_analyzer() -> MissingPiece | None:
    if perf_analyzer_path():
        return None
    remedy = "see docs/client.md; with glibc 2.38 or later: pip install 'perf-analyzer>=2.58'"
    return MissingPiece(what=PERF_ANALYZER, remedy=remedy)


def _perf_analyzer(task: Task) -> Start:
    where = ("-m", MODEL, "-i", "grpc", "-u", f"127.0.0.1:{task.port}")
    load = ("--concurrency-range", str(task.in_flight), "--input-data", "zero", "-p", str(LONG_MS))
    return Start((perf_analyzer_path() or PERF_ANALYZER, *where, *load), {})
