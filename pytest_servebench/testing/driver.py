"""A driver that moves no bytes, for tests of what asks and loads servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Watch
from pytest_servebench.plan import Load, WireProtocol, WireRequest
from pytest_servebench.results import Endpoint, Progress
from pytest_servebench.samples import Outcome, Reply, Samples
from pytest_servebench.testing.clock import FakeClock

Answering = Callable[[Endpoint, WireRequest], Reply]
"""What the server says; raises `LoadError` when it says nothing."""


@dataclass(slots=True, kw_only=True)
class FakeDriver:
    """Satisfies `interfaces.Driver` on fake time.

    Every request is answered by ``answering`` after ``service_s``. Those outside loads are
    kept in ``exchanged``, every load in ``loads``.
    """

    answering: Answering
    clock: FakeClock
    service_s: float = 0.05
    exchanged: list[tuple[Endpoint, WireRequest]] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    def exchange(self, endpoint: Endpoint, request: WireRequest, timeout_s: float) -> Reply:
        """Return the answer after ``service_s``; raises `LoadError` as ``answering`` does."""
        del timeout_s
        self.exchanged.append((endpoint, request))
        self.clock.advance_s(self.service_s)
        return self.answering(endpoint, request)

    def run(self, endpoint: Endpoint, requests: Sequence[WireRequest], load: Load, watch: Watch) -> Samples:
        """Send ``requests`` round robin, ``load.concurrency`` in one instant, until the window is over.

        Ends early when the watch says that the server is gone. Every OK reply of the window is kept.
        """
        self.loads.append(load)
        begin_ns = self.clock.now_ns() + round(load.warmup_s * 1e9)
        end_ns = begin_ns + round(load.duration_s * 1e9)
        rows: list[_Row] = []
        gone = None
        while self.clock.now_ns() < end_ns and gone is None:
            sent_ns = self.clock.now_ns()
            self.clock.advance_s(self.service_s)
            for _ in range(load.concurrency):
                rows.append(self._send(endpoint, requests, len(rows), sent_ns))
            watch.progress(_progress(rows))
            if any(row.outcome is Outcome.TRANSPORT_ERROR for row in rows[-load.concurrency :]):
                gone = watch.server_gone()
        return _samples(
            rows, (min(begin_ns, self.clock.now_ns() - 1), min(end_ns, self.clock.now_ns())), gone
        )

    def _send(self, endpoint: Endpoint, requests: Sequence[WireRequest], number: int, sent_ns: int) -> _Row:
        index = number % len(requests)
        request = requests[index]
        try:
            reply = self.answering(endpoint, request)
        except LoadError as error:
            return _Row(index, sent_ns, -1, Outcome.TRANSPORT_ERROR, None, str(error))
        success = 200 if request.protocol is WireProtocol.HTTP else 0
        outcome = Outcome.OK if reply.status == success else Outcome.HTTP_ERROR
        text = "" if outcome is Outcome.OK else f"status {reply.status}"
        return _Row(index, sent_ns, self.clock.now_ns(), outcome, reply, text)


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    sent_ns: int
    received_ns: int
    outcome: Outcome
    reply: Reply | None
    trouble: str


def _progress(rows: Sequence[_Row]) -> Progress:
    correct = sum(row.outcome is Outcome.OK for row in rows)
    return Progress(
        stage="measuring",
        elapsed_s=0.0,
        remaining_s=0.0,
        completed=correct,
        errors=len(rows) - correct,
        throughput_per_s=0.0,
        response_time_p95_ms=None,
    )


def _samples(rows: Sequence[_Row], window_ns: tuple[int, int], gone: str | None) -> Samples:
    sent_ns = np.array([row.sent_ns for row in rows], dtype=np.int64)
    kept = {
        position: row.reply
        for position, row in enumerate(rows)
        if row.reply and row.outcome is Outcome.OK and window_ns[0] < row.received_ns <= window_ns[1]
    }
    trouble = next((row.trouble for row in rows if row.trouble), "")
    return Samples(
        intended_ns=sent_ns,
        sent_ns=sent_ns,
        received_ns=np.array([row.received_ns for row in rows], dtype=np.int64),
        outcome=np.array([row.outcome for row in rows], dtype=np.uint8),
        request_index=np.array([row.index for row in rows], dtype=np.int32),
        window_ns=window_ns,
        replies=kept,
        first_error=trouble if gone is None else f"the server is gone: {gone}",
    )
