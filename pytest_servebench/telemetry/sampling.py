"""Reads something again and again beside the load, at a bounded price."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from pytest_servebench.clock import thread_cpu_ns

COST_SHARE = 0.001
"""CPU time one sampler may use, as a share of one core; a dear reading is taken less often.

Those that run beside one load have 0.8% together: `telemetry.beside` starts them.
"""


class Probe(Protocol):
    """Samples something between its start and its stop."""

    def start(self) -> None:
        """Begin; the first reading is taken before this returns."""

    def stop(self) -> None:
        """End; may be called twice."""


class Sampler:
    """Calls ``take`` every ``period_s`` in a daemon thread, more rarely when it costs much.

    The price of a reading grows with the server's tree: a fixed period would let a large
    server be disturbed by its own measurement. ``take`` returns False when there is nothing
    more to read, which ends the thread.
    """

    def __init__(
        self, take: Callable[[], bool], period_s: float, name: str, share: float = COST_SHARE
    ) -> None:
        self._take = take
        self._period_s = period_s
        self._share = share
        self._pause_s: float | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first reading is taken before this returns."""
        self._pause_s = self._take_and_price()
        if self._pause_s is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the thread; may be called twice, also before `start`."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._pause_s is not None and not self._end.wait(self._pause_s):
            self._pause_s = self._take_and_price()

    def _take_and_price(self) -> float | None:
        """Take a reading and return the pause it calls for, None after the last one."""
        began_ns = thread_cpu_ns()
        if not self._take():
            return None
        return pause_after(thread_cpu_ns() - began_ns, self._period_s, self._share)


def pause_after(cost_ns: int, period_s: float, share: float = COST_SHARE) -> float:
    """Return how long to rest, in seconds, after a reading that used ``cost_ns`` of CPU time."""
    return max(period_s, cost_ns / 1e9 / share)
