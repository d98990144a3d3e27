"""The only file that reads or sleeps time; everyone else is handed a clock."""

from __future__ import annotations

import time
from datetime import datetime, timezone

monotonic_ns = time.monotonic_ns
"""CLOCK_MONOTONIC in nanoseconds, unwrapped: for the sender's hot loop."""

wall_ns = time.time_ns
"""Calendar time in nanoseconds: only to translate what others have stamped with it."""

thread_cpu_ns = time.thread_time_ns
"""CPU time of the calling thread in nanoseconds."""

process_cpu_ns = time.process_time_ns
"""CPU time of the whole process in nanoseconds."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def sleep_s(self, seconds: float) -> None:
        """Sleep at least ``seconds``."""
        time.sleep(seconds)


def utc_now_text() -> str:
    """Return the calendar time in UTC as ISO 8601 text, for records only."""
    return datetime.now(tz=timezone.utc).isoformat(timespec="seconds")
