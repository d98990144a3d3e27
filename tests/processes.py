"""Whether processes run or have ended, for tests of servers that were started."""

from __future__ import annotations

import psutil

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.interfaces import RunningServer


def runs(pid: int) -> bool:
    """Return whether a process runs; one that its parent has yet to reap does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(*pids: int, within_s: float = 2.0) -> bool:
    """Return whether these processes are gone in time."""
    for _ in range(round(within_s / 0.02)):
        alive = [psutil.Process(pid) for pid in pids if runs(pid)]
        if not alive:
            return True
        psutil.wait_procs(alive, timeout=0.02)
    return False


def exit_code_of(server: RunningServer, within_s: float = 2.0) -> int | None:
    """Return the exit code of a server that ends in time, else None."""
    clock = MonotonicClock()
    for _ in range(round(within_s / 0.02)):
        if server.exit_code() is not None:
            break
        clock.sleep_s(0.02)
    return server.exit_code()
