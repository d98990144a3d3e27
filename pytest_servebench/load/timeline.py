"""Cuts a load into slices while it runs."""

from __future__ import annotations

import numpy as np

from pytest_servebench.load.sample_log import SampleLog
from pytest_servebench.samples import Outcome, Slice
from pytest_servebench.statistics.histogram import Histogram
from pytest_servebench.statistics.slices import STEP_NS, paired

MOST_SLICES = 600
"""More are joined two by two: a load of hours has slices of some ten seconds and stays in memory."""


class TimeLine:
    """The slices so far, the warm-up's and the window's; a slice's rows are those logged in its time."""

    def __init__(self, log: SampleLog, start_ns: int) -> None:
        self.warm_up: list[Slice] = []
        self.window: list[Slice] = []
        self._current = self.warm_up
        self._log = log
        self._seen = 0
        self._in_flight = 0
        self._begin_ns = self._origin_ns = start_ns
        self._step_ns = STEP_NS

    @property
    def edge_ns(self) -> int:
        """When to cut next."""
        done = (self._begin_ns - self._origin_ns) // self._step_ns
        return self._origin_ns + (done + 1) * self._step_ns

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All slices in order."""
        return (*self.warm_up, *self.window)

    def cut(self, now_ns: int, in_flight: int) -> None:
        """End a slice at ``now_ns``, when so many requests are in flight; some 0.1 ms for 5,000 rows."""
        if now_ns <= self._begin_ns:
            return
        if len(self._log) or in_flight or now_ns >= self.edge_ns:  # else nothing has begun yet
            self._current.append(self._slice(now_ns, in_flight))
        self._begin_ns, self._seen, self._in_flight = now_ns, len(self._log), in_flight
        if len(self.warm_up) + len(self.window) >= MOST_SLICES and len(self._current) % 2 == 0:
            self.warm_up[:], self.window[:] = paired(self.warm_up), paired(self.window)
            self._step_ns *= 2

    def open_window(self, now_ns: int) -> None:
        """Let the window's slices begin here, where one was just cut."""
        self._current = self.window
        self._origin_ns = self._begin_ns = now_ns

    def _slice(self, now_ns: int, in_flight: int) -> Slice:
        columns = self._log.since(self._seen)
        outcome = columns.outcome
        correct = outcome == Outcome.OK
        ended, dropped = len(outcome), int(np.count_nonzero(outcome == Outcome.DROPPED))
        response_times = Histogram.of(columns.received_ns[correct] - columns.intended_ns[correct])
        sent = ended - dropped + in_flight - self._in_flight
        return Slice(
            begin_ns=self._begin_ns,
            end_ns=now_ns,
            offered=sent + dropped,
            sent=sent,
            correct=response_times.count,
            failed=ended - dropped - response_times.count,
            dropped=dropped,
            response_times=response_times,
        )
