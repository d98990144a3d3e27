"""Reads something again and again beside the load, at a bounded price."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from pytest_servebench.clock import thread_cpu_ns

COST_SHARE = 0.001
"""CPU time one sampler may use, as a share of one core; a dear reading is taken less often.

Those that run beside one load have 0.9% together: `telemetry.beside` starts them.
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
        self._pause_s = period_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first reading is taken before this returns."""
        began_ns = thread_cpu_ns()
        if self._take():
            self._pause_s = pause_after(thread_cpu_ns() - began_ns, self._period_s, self._share)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; may be called twice, also before `start`."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        """Read until told to end, or nothing is left to read; to wake up is paid for too."""
        spent_ns = thread_cpu_ns()
        while not self._end.wait(self._pause_s) and self._take():
            now_ns = thread_cpu_ns()
            self._pause_s = pause_after(now_ns - spent_ns, self._period_s, self._share)
            spent_ns = now_ns


class Sampled:
    """A probe whose readings are taken by samplers of its own."""

    _samplers: tuple[Sampler, ...] = ()
    """Set when it is made."""

    def start(self) -> None:
        """Begin to sample; call it before the window begins."""
        for sampler in self._samplers:
            sampler.start()

    def stop(self) -> None:
        """End the threads; may be called twice."""
        for sampler in self._samplers:
            sampler.stop()


def pause_after(cost_ns: int, period_s: float, share: float = COST_SHARE) -> float:
    """Return how long to rest, in seconds, after a reading that used ``cost_ns`` of CPU time."""
    return max(period_s, cost_ns / 1e9 / share)
