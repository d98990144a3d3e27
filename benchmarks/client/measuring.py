"""One window of one client, looked at from outside, and the rounds in which clients take turns."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.client.null_server import NullServer, end, pinned_to
from benchmarks.client.peers import Peer, Task
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import LoadError

ROOT = str(Path(__file__).resolve().parents[2])
START_UP_S = 20.0
LOOK_S = 0.002
TAIL_S = 0.3
"""How much longer than the window a client is asked to send, so that it never ends inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How each window is taken."""

    in_flight: int
    settle_s: float
    window_s: float
    client_core: int | None
    server_core: int | None

    @property
    def for_s(self) -> float:
        """How long a client is asked to send."""
        return self.settle_s + self.window_s + TAIL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One window of one client."""

    peer: str
    payload_bytes: int
    round: int
    requests: int
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    sent: int | None
    """Requests of the whole life of the client as it says itself; None: it does not say."""
    served: int
    """Requests of the whole life of the client as the server counted them."""

    @property
    def per_s(self) -> float:
        """Requests per second."""
        return self.requests / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Requests per second of the client's CPU time."""
        return self.requests / self.client_cpu_s


@dataclass(frozen=True, slots=True)
class _Instant:
    wall_ns: int
    requests: int
    client_cpu_ns: int
    server_cpu_ns: int


def tree_cpu_ns(pid: int) -> int:
    """Return the CPU time of a process and its descendants so far.

    By the scheduler's own nanoseconds, thread by thread, which leaves out threads that
    have ended; without /proc/PID/schedstat by utime + stime, in steps of 10 ms.
    """
    root = psutil.Process(pid)
    return sum(_process_cpu_ns(process) for process in (root, *root.children(recursive=True)))


def _process_cpu_ns(process: psutil.Process) -> int:
    tasks = Path("/proc", str(process.pid), "task")
    if not (tasks / str(process.pid) / "schedstat").exists():
        times = process.cpu_times()
        return round((times.user + times.system) * 1e9)
    total_ns = 0
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns


def rounds(
    peers: Sequence[Peer], bodies: Sequence[Path], plan: Plan, server: NullServer, count: int
) -> Iterator[Reading]:
    """Measure every peer with every body ``count`` times, in an order of its own each round."""
    order = random.Random(0)  # noqa: S311 (an order, not a secret)
    for number in range(count):
        for body_path in bodies:
            for peer in order.sample(list(peers), len(peers)):
                task = Task(server.port, body_path, plan.in_flight, plan.for_s)
                yield measure(peer, task, plan, server, number)


def measure(peer: Peer, task: Task, plan: Plan, server: NullServer, number: int) -> Reading:
    """Start a client, let it settle, look twice, end it; raises `LoadError` when it does not send."""
    before = server.counts().requests
    start = peer.start(task)
    environment = {**os.environ, "PYTHONPATH": ROOT, **start.environment}
    with pinned_to(plan.client_core):
        process = subprocess.Popen(
            start.argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    try:
        _until(lambda: server.counts().requests > before, peer, process)
        clock = MonotonicClock()
        clock.sleep_s(plan.settle_s)
        first = _look(process.pid, server)
        clock.sleep_s(plan.window_s)
        if process.poll() is not None:
            raise _ended(peer, process)
        last = _look(process.pid, server)
        sent = _told(peer, process) if peer.tells else None
    finally:
        end(process)
    return Reading(
        peer=peer.name,
        payload_bytes=task.body_path.stat().st_size,
        round=number,
        requests=last.requests - first.requests,
        wall_s=(last.wall_ns - first.wall_ns) / 1e9,
        client_cpu_s=(last.client_cpu_ns - first.client_cpu_ns) / 1e9,
        server_cpu_s=(last.server_cpu_ns - first.server_cpu_ns) / 1e9,
        sent=sent,
        served=server.counts().requests - before,
    )


def _look(client_pid: int, server: NullServer) -> _Instant:
    return _Instant(
        MonotonicClock().now_ns(),
        server.counts().requests,
        tree_cpu_ns(client_pid),
        tree_cpu_ns(server.pid),
    )


def _until(condition: Callable[[], bool], peer: Peer, process: subprocess.Popen[str]) -> None:
    clock = MonotonicClock()
    until_ns = clock.now_ns() + round(START_UP_S * 1e9)
    while not condition():
        if process.poll() is not None:
            raise _ended(peer, process)
        if clock.now_ns() > until_ns:
            raise LoadError(f"{peer.name} sent nothing in {START_UP_S:g} s.", seen=f"{process.args!r}")
        clock.sleep_s(LOOK_S)


def _ended(peer: Peer, process: subprocess.Popen[str]) -> LoadError:
    output = process.communicate()[0]
    return LoadError(
        f"{peer.name} ended before it was measured, with exit code {process.returncode}.",
        seen=output.strip()[-2000:],
        next_step=f"run it by hand, or leave it out with --without={peer.name}",
    )


def _told(peer: Peer, process: subprocess.Popen[str]) -> int:
    output = process.communicate(timeout=START_UP_S)[0]
    try:
        return int(json.loads(output.splitlines()[-1])["sent"])
    except (IndexError, KeyError, ValueError) as error:
        raise LoadError(f"{peer.name} did not say what it sent.", seen=output[-2000:]) from error
