"""The engine ``k6``: the same requests, load and samples as our own sender's, sent by the real k6."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_servebench.clock import MonotonicClock, wall_ns
from pytest_servebench.errors import LoadError
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.interfaces import Clock, Watch
from pytest_servebench.k6.binary import find_k6, k6_version, missing_k6
from pytest_servebench.k6.configuration import configuration
from pytest_servebench.k6.following import follow
from pytest_servebench.k6.memory_files import MemoryFiles
from pytest_servebench.k6.process import Files, K6Process
from pytest_servebench.k6.samples import NEVER, Told, columns_of, kept_replies, told_of
from pytest_servebench.k6.scenario import due_between, scenario_of, virtual_users, why_not
from pytest_servebench.k6.summary import disagreement, report_of
from pytest_servebench.load.connection import authority_of
from pytest_servebench.load.wire import http_bytes
from pytest_servebench.plan import Load, WireRequest
from pytest_servebench.results import Endpoint
from pytest_servebench.samples import Samples

SCRIPT = Path("k6") / "staged_load.js"
CLOCK_STEP_NS = 5_000_000
"""How far the calendar may move against CLOCK_MONOTONIC within a run; beyond, somebody set it."""
_ENGINE_OURS = "use --serve-load-engine=servebench"


class K6:
    """Satisfies `run` of `interfaces.Driver` for loads whose engine is ``k6``."""

    def __init__(self, binary: Path | None = None, clock: Clock | None = None) -> None:
        self._binary = binary
        self._clock = clock or MonotonicClock()

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        """Send ``requests`` under ``load`` with k6 and return every sample.

        Warm-up and window are one scenario of k6, cut by time. A request was intended when it was
        sent: k6 tells no other instant. Raises `MissingPieceError` without k6, and `LoadError` when
        it cannot make this load, ends with an error, or contradicts itself.
        """
        binary = self._binary or find_k6()
        if binary is None:
            raise missing_k6()
        version = k6_version(binary)
        authority = _authority(endpoint, requests, load)
        with MemoryFiles() as memory:
            bodies = [memory.add(one.body) if one.body else "" for one in requests]
            asked = json.dumps(configuration(load, requests, authority, bodies))
            files = Files.of(memory, shipped("benchmarks") / SCRIPT, memory.add(asked.encode()))
            begin_offset_ns = self._offset_ns()
            with K6Process(binary, files, memory.pipe(), self._clock) as process:
                gone = follow(process, load, watch, self._clock)
                _check_calendar(self._offset_ns() - begin_offset_ns)
                run = _Run(load, process, _told(process), begin_offset_ns, authority, gone)
                return run.samples(version, self._clock.now_ns())

    def _offset_ns(self) -> int:
        """Return calendar time - CLOCK_MONOTONIC: k6 stamps with the one, samples have the other."""
        return wall_ns() - self._clock.now_ns()


@dataclass(frozen=True, slots=True)
class _Run:
    """A k6 that has ended, and what is known of its load."""

    load: Load
    process: K6Process
    told: Told
    offset_ns: int
    authority: str
    gone: str | None
    """Why the server is gone; None while it was there."""

    def samples(self, version: str, now_ns: int) -> Samples:
        """Return the samples; ``now_ns`` ends a window that was cut short. Raises `LoadError`."""
        report = self._report(version)
        columns = columns_of(self.process.output, self.offset_ns)
        start_ns = self.told.start_ns - self.offset_ns
        window_ns = self._window_ns(start_ns, now_ns)
        begin_s, end_s = ((edge_ns - start_ns) / 1e9 for edge_ns in window_ns)
        return Samples(
            intended_ns=columns.begun_ns,
            sent_ns=columns.sent_ns,
            received_ns=columns.received_ns,
            outcome=columns.outcome,
            request_index=columns.request_index,
            window_ns=window_ns,
            replies=kept_replies(self.told, columns, window_ns),
            client_cpu_s=self.process.cpu_s(window_ns),
            client_cores=min(virtual_users(self.load), len(os.sched_getaffinity(0))),
            arrivals_due=due_between(self.load, begin_s, end_s),
            engine_report=report,
            first_error=self._first_error(),
        )

    def _window_ns(self, start_ns: int, now_ns: int) -> tuple[int, int]:
        """Return the window; a load cut short in its warm-up has its whole length as its window."""
        begin_ns = start_ns + round(self.load.warmup_s * 1e9)
        end_ns = begin_ns + round(self.load.duration_s * 1e9)
        if self.gone is None or now_ns >= end_ns:
            return begin_ns, end_ns
        return (begin_ns if begin_ns < now_ns else start_ns), now_ns

    def _first_error(self) -> str:
        output = self.process.output
        if self.gone is not None:
            return f"the server is gone: {self.gone}"
        if output.first_error:
            return f"{output.first_error} (from {self.authority})"
        users = virtual_users(self.load)
        return f"an arrival was dropped: {users} requests were in flight" if output.dropped_ns else ""

    def _report(self, version: str) -> dict[str, Any]:
        """Return what k6 says of itself; raises `LoadError` when its summary is not that of its requests.

        A k6 that was ended early writes no whole summary.
        """
        scenario, open_loop = scenario_of(self.load), self.load.arrivals is not None
        if self.gone is not None:
            return report_of({}, version=version, scenario=scenario, open_loop=open_loop)
        summary = self.process.summary()
        trouble = disagreement(summary, self.process.output)
        if trouble:
            raise LoadError(
                "k6's own summary and what it wrote of its requests do not agree.",
                where=version,
                seen=trouble,
                next_step=f"do not believe either; {_ENGINE_OURS}, or another version of k6",
            )
        return report_of(summary, version=version, scenario=scenario, open_loop=open_loop)


def _authority(endpoint: Endpoint, requests: Sequence[WireRequest], load: Load) -> str:
    """Return ``host:port`` of all requests, each of which could be sent as it is; raises `LoadError`."""
    ways = {(request.protocol, request.port_role) for request in requests}
    if len(ways) != 1:
        raise LoadError(
            "A load needs requests that all travel the same way.",
            seen=", ".join(sorted(f"{protocol} on port {role}" for protocol, role in ways)) or "no requests",
            next_step="give at least one request, all of one protocol and one port",
        )
    ((protocol, role),) = ways
    trouble = why_not(load, protocol)
    if trouble:
        raise LoadError("k6 cannot make this load.", seen=trouble, next_step=_ENGINE_OURS)
    authority = authority_of(endpoint, role)
    for request in requests:
        http_bytes(request, authority)
    return authority


def _told(process: K6Process) -> Told:
    told = told_of(process.console())
    if told.start_ns == NEVER:
        raise LoadError(
            "k6 sent nothing.",
            seen=process.tail(),
            next_step="run benchmarks/k6/staged_load.js by hand against the server, see docs/load-shapes.md",
        )
    return told


def _check_calendar(moved_ns: int) -> None:
    if abs(moved_ns) > CLOCK_STEP_NS:
        raise LoadError(
            "The machine's calendar clock was set during the run, and k6 has no other.",
            seen=f"it moved by {moved_ns / 1e6:.1f} ms",
            next_step="run again",
        )
