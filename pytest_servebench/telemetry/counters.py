"""Reads a server's own counters at the edges of the measured window, in a thread beside the sender."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Clock
from pytest_servebench.results import Progress
from pytest_servebench.samples import Reply

BEFORE = "before"
"""The reading before the whole load."""
BEGIN = "measuring"
"""The reading at the window's begin, by the stage that begins there."""
END = "draining"
"""The reading at the window's end, by the stage that begins there."""
AFTER = "after"
"""The reading after the whole load, where there is none at the window's end."""
LATEST_SHARE = 0.5
"""Of the window, that may have passed when its begin is read: else the load's own begin tells more."""

Window = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of asking a server for its counters; not read yet, so that it costs the sender nothing."""

    asked_ns: int
    answered_ns: int
    reply: Reply | None = None
    absent: str = ""
    """Why there is no reply."""

    @property
    def at_ns(self) -> int:
        """About when the counters were as the reply says."""
        return (self.asked_ns + self.answered_ns) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Two readings, and what lies between them."""

    first: Reading
    last: Reading
    offset_s: tuple[float, float] | None
    """How long after the window's begin and after its end they were taken; None: it is the whole load."""
    reason: str = ""
    """Why it is the whole load."""


def span_of(readings: Mapping[str, Reading], window_ns: Window) -> Span:
    """Return the readings that lie closest around a window; the begin's only where it was seen in time."""
    end = readings.get(END)
    last = end if end is not None and end.reply is not None else readings[AFTER]
    begin = readings.get(BEGIN)
    if begin is None:
        reason = "the begin of the window was not seen"
    elif begin.reply is None:
        reason = f"at the begin of the window, {begin.absent}"
    elif begin.answered_ns - window_ns[0] > LATEST_SHARE * (window_ns[1] - window_ns[0]):
        late_s = (begin.answered_ns - window_ns[0]) / 1e9
        reason = f"at the begin of the window, the server took {late_s:.2f} s to tell its counters"
    else:
        offset_s = ((begin.at_ns - window_ns[0]) / 1e9, (last.at_ns - window_ns[1]) / 1e9)
        return Span(first=begin, last=last, offset_s=offset_s)
    whole = f"{reason}: what the server counted is of the whole load, its warm-up too"
    return Span(first=readings[BEFORE], last=last, offset_s=None, reason=whole)


class EdgeReader:
    """Asks for counters before the load, at each new stage of it and, where that failed, after it.

    ``ask`` returns the server's reply or raises `LoadError`. `progress` only leaves a word for the
    thread, so it costs the sender some microseconds.
    """

    def __init__(self, ask: Callable[[], Reply], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._stage = ""
        self._stages: SimpleQueue[str] = SimpleQueue()
        self._readings: dict[str, Reading] = {}
        self._thread = threading.Thread(target=self._follow, name="servebench-counters", daemon=True)

    def start(self) -> None:
        """Take the reading before the load; the others wait for their stages."""
        self._readings[BEFORE] = self._take()
        self._thread.start()

    def progress(self, progress: Progress) -> None:
        """See how far the load is; called in the thread that sends."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._stages.put(progress.stage)

    def stop(self) -> None:
        """End the thread, once it has read what it was told to; may be called twice."""
        self._stages.put("")
        if self._thread.is_alive():
            self._thread.join()

    def readings(self) -> Mapping[str, Reading]:
        """Return all readings of a load that is over; takes the last one if it is missing."""
        self.stop()
        end = self._readings.get(END)
        if end is None or end.reply is None:
            self._readings[AFTER] = self._take()
        return self._readings

    def _follow(self) -> None:
        while stage := self._stages.get():
            if stage in {BEGIN, END}:
                self._readings[stage] = self._take()

    def _take(self) -> Reading:
        asked_ns = self._clock.now_ns()
        reply, absent = None, ""
        try:
            reply = self._ask()
        except LoadError as error:
            absent = f"the server's counters could not be read: {error.seen or error.what}"
        return Reading(asked_ns=asked_ns, answered_ns=self._clock.now_ns(), reply=reply, absent=absent)
