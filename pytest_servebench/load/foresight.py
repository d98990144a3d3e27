"""Wakes a closed loop a little before the next reply can be there, and polls the rest of the way.

A sleeping client notices a reply late: a virtual machine takes some 80 microseconds to wake, and
with service times that hardly vary all replies come at once and all of them wait. So the loop
sleeps until the earliest instant at which a request in flight could be answered as fast as the
fastest of late, less a margin; from there it polls without waiting. It may poll for a small share of
the time only, since a server on the same machine can use the core better.
"""

from __future__ import annotations

import select
from collections.abc import Iterable

from pytest_servebench.clock import monotonic_ns
from pytest_servebench.load.timer import Timer

EARLY_NS = 150_000
"""How long before a reply to wake: more than a virtual machine takes for it."""
LATE_NS = 150_000
"""How long after that instant to go on polling before sleeping again."""
SHORTEST_NS = 1_000_000
"""Service times below it are left alone: their replies come faster than one could wake and sleep."""
POLLED_SHARE = 0.05
"""Highest share of the load's time that may be polled away."""
_GRACE_NS = 5_000_000
"""What may be polled away before there is a share to speak of."""

Events = list[tuple[int, int]]


def due_ns(sent_ns: Iterable[int], fastest_ns: int, now_ns: int) -> int | None:
    """Return the earliest instant still to come at which one of these requests could be answered.

    None when no fastest service time is known, when it is below `SHORTEST_NS`, and when
    all of them have taken longer than that already.
    """
    if fastest_ns < SHORTEST_NS:
        return None
    earliest_sent_ns = now_ns - fastest_ns
    coming = [sent for sent in sent_ns if sent > earliest_sent_ns]
    return min(coming) + fastest_ns if coming else None


class Foresight:
    """Waits on a poller of others; holds a timer and a poller of its own."""

    def __init__(self, poller: select.epoll) -> None:
        self.fastest_ns = 0
        """The shortest service time of late; 0 when none is known."""
        self._inner = poller
        self._timer = Timer()
        # Apart from the other descriptors, so that the hot path never meets the timer.
        self._outer = select.epoll()
        self._outer.register(poller.fileno(), select.EPOLLIN)
        self._outer.register(self._timer.fileno(), select.EPOLLIN | select.EPOLLET)
        self._begun_ns = monotonic_ns()
        self._polled_ns = 0

    def wait(self, sent_ns: Iterable[int], until_ns: int, limit: int) -> Events:
        """Return up to ``limit`` events of the poller, none when ``until_ns`` came before one."""
        now_ns = monotonic_ns()
        reply_ns = due_ns(sent_ns, self.fastest_ns, now_ns)
        if reply_ns is None or reply_ns > until_ns or self._spent(now_ns):
            return self._inner.poll(max(0, until_ns - now_ns) / 1e9, limit)
        if reply_ns - EARLY_NS > now_ns:
            self._timer.arm(reply_ns - EARLY_NS)
            self._outer.poll(max(0, until_ns - now_ns) / 1e9, 2)
        return self._poll_until(reply_ns + LATE_NS, limit) or self._inner.poll(
            max(0, until_ns - monotonic_ns()) / 1e9, limit
        )

    def close(self) -> None:
        """Close the timer and the poller of its own; may be called twice."""
        self._outer.close()
        self._timer.close()

    def _poll_until(self, end_ns: int, limit: int) -> Events:
        begun_ns = now_ns = monotonic_ns()
        events = self._inner.poll(0, limit)
        while not events and (now_ns := monotonic_ns()) < end_ns:
            events = self._inner.poll(0, limit)
        self._polled_ns += now_ns - begun_ns
        return events

    def _spent(self, now_ns: int) -> bool:
        return self._polled_ns > _GRACE_NS + POLLED_SHARE * (now_ns - self._begun_ns)
