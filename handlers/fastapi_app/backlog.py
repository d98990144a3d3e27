"""What waits for the engine and when it may go: the batching rule, without thread or clock.

The rule is told in `batcher`; here it is decided, from instants that are passed in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Ticket = TypeVar("Ticket")

Hold = Literal["expected", "always", "never"]


class BacklogFullError(Exception):
    """No request may be added: as many wait as may."""


@dataclass(frozen=True)
class BatchingRule:
    """How large batches may be and how long they may be held."""

    max_batch_size: int
    """Images in one execution."""
    max_queue_delay_ns: int
    queue_size: int
    """Requests that may wait."""
    hold: Hold = "expected"
    engines: int = 1
    """Executions that there can be at once, each on a device of its own."""


@dataclass(frozen=True)
class Waiting(Generic[Ticket]):
    """One request that waits: its images stay together."""

    ticket: Ticket
    images: int
    arrived_ns: int
    alone: bool = False
    """It shares no execution with other requests."""


class Backlog(Generic[Ticket]):
    """Requests in order of arrival, and how many images to expect at once.

    The mutable state: what waits, how many images compute, and ``expected``, the
    high-water mark of images waiting and computing since a batch last ran for its age.
    """

    def __init__(self, rule: BatchingRule) -> None:
        self.rule = rule
        self.computing = 0
        self._waiting: deque[Waiting[Ticket]] = deque()
        self._images = 0
        self._expected = 1

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Waiting[Ticket]) -> None:
        """Append a request; raises `BacklogFullError`."""
        if len(self._waiting) >= self.rule.queue_size:
            raise BacklogFullError
        self._waiting.append(request)
        self._images += request.images
        self._expected = max(self._expected, self._images + self.computing)

    def forget(self, request: Waiting[Ticket]) -> bool:
        """Remove a request that nobody waits for any more; False when it is not there."""
        try:
            self._waiting.remove(request)
        except ValueError:
            return False
        self._images -= request.images
        return True

    def hold_until_ns(self, now_ns: int, *, draining: bool = False) -> int | None:
        """Return until when the head must be held; ``now_ns`` when it may go; None if none waits."""
        if not self._waiting:
            return None
        count, images = self._head()
        rule = self.rule
        deadline_ns = self._waiting[0].arrived_ns + rule.max_queue_delay_ns
        closed = images == rule.max_batch_size or count < len(self._waiting) or self._waiting[0].alone
        if closed or draining or rule.hold == "never" or now_ns >= deadline_ns:
            return now_ns
        if rule.hold == "expected" and images >= min(self._to_meet, rule.max_batch_size):
            return now_ns
        return deadline_ns

    def take(self, now_ns: int) -> list[Waiting[Ticket]]:
        """Remove and return the head: the requests of one execution."""
        if now_ns >= self._waiting[0].arrived_ns + self.rule.max_queue_delay_ns:
            # Whoever was expected did not come in time: expect no more than are here.
            self._expected = self._images + self.computing
        count, images = self._head()
        self._images -= images
        return [self._waiting.popleft() for _ in range(count)]

    @property
    def _to_meet(self) -> int:
        """Images worth waiting for: an engine's share of those expected, and none that compute already."""
        share = -(-self._expected // self.rule.engines)
        return min(share, self._expected - self.computing)

    def _head(self) -> tuple[int, int]:
        """Return how many requests, with how many images, the next execution can hold."""
        count = images = 0
        for request in self._waiting:
            joins = not request.alone and images + request.images <= self.rule.max_batch_size
            if count and not joins:
                break
            count, images = count + 1, images + request.images
            if request.alone:
                break
        return count, images
