"""The course of a load, closed loop or open: from warm-up over the window to the last reply."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pytest_servebench.clock import MonotonicClock, monotonic_ns
from pytest_servebench.interfaces import Watch
from pytest_servebench.load.book import Book
from pytest_servebench.load.helm import Helm
from pytest_servebench.load.stage_helm import helm_of
from pytest_servebench.load.timeline import TimeLine
from pytest_servebench.load.window import ProgressMeter, Stage, Window
from pytest_servebench.plan import Load
from pytest_servebench.samples import Outcome, Slice

TICK_NS = 50_000_000
DRAIN_TICK_NS = 2_000_000
PROGRESS_NS = 250_000_000


class Sender(Protocol):
    """What the course steers: it moves bytes and writes the sample log, see `HttpSender`."""

    troubled: bool

    def cpu_ns(self) -> int:
        """Return the CPU time that sending has cost so far."""

    def turns(self, until_ns: int) -> None:
        """Receive and send until ``until_ns``, or until a transport error."""

    def resume(self, now_ns: int) -> None:
        """Send where nothing is in flight and no pause is left."""

    def stop(self) -> None:
        """Send no further requests."""

    @property
    def in_flight(self) -> int:
        """How many requests have no outcome yet."""

    def give_up_overdue(self, sent_until_ns: int, text: str) -> int | None:
        """Count requests sent until then as time-outs; return when the oldest other was sent."""

    def abandon(self, text: str, outcome: Outcome) -> None:
        """Count everything in flight as failed now."""


class Course:
    """Steers one load through its stages; used once."""

    def __init__(
        self, sender: Sender, load: Load, watch: Watch, book: Book, helm: Helm | None = None
    ) -> None:
        self._helm = helm_of(load) if helm is None else helm
        self._sender = sender
        self._load = load
        self._watch = watch
        self._book = book
        self._log = book.log
        self._kept = book.kept
        self._line = TimeLine(book.log, 0)
        self._meter = ProgressMeter(load)
        self._timeout_ns = round(load.timeout_s * 1e9)
        self._asked_ns = 0
        self._progress_ns = 0
        self._shared = False

    def run(self, start_ns: int | None = None) -> Window:
        """Send until the window is over, await what is in flight, and return the window as it was.

        The load and its schedule begin at ``start_ns``, now if None. With a start that others
        share, stages change at exactly the instants meant, however late that is noticed: so the
        window is theirs too. Ends early when the watch
        says that the server is gone. Whatever the server does, it ends at the latest one time-out
        after the window.
        """
        with _collector_paused():
            self._shared = start_ns is not None
            start_ns = monotonic_ns() if start_ns is None else start_ns
            MonotonicClock().sleep_s(max(0, start_ns - monotonic_ns()) / 1e9)
            window = Window(self._load, start_ns, self._sender.cpu_ns)
            self._line = TimeLine(self._log, start_ns)
            self._sender.resume(start_ns)  # a schedule begins with the load, to the nanosecond
            while self._goes_on(window, monotonic_ns()):
                self._sender.turns(self._next_tick_ns(window, monotonic_ns()))
        return window

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The time line so far."""
        return self._line.slices

    def _goes_on(self, window: Window, now_ns: int) -> bool:
        """Do what is due at ``now_ns``; return whether the load goes on."""
        gone = self._gone(now_ns)
        if gone is not None:
            self._sender.abandon(f"the server is gone: {gone}", Outcome.TRANSPORT_ERROR)
            if window.stage is not Stage.DRAINING:
                self._end(window, monotonic_ns())
            return False
        self._look(window, now_ns)
        self._change_stage(window, now_ns)
        if window.stage is Stage.DRAINING and (now_ns >= window.edge_ns or not self._sender.in_flight):
            self._sender.abandon("no reply until the end of the load", Outcome.TIMEOUT)
            return False
        if now_ns >= self._progress_ns:
            self._progress_ns = now_ns + PROGRESS_NS
            self._watch.progress(self._meter.read(window, self._log, now_ns))
        return True

    def _look(self, window: Window, now_ns: int) -> None:
        """At the edge of a slice: cut it, fold what is too much, and ask the helm."""
        if window.stage is Stage.DRAINING or now_ns < min(self._line.edge_ns, window.edge_ns):
            return
        self._line.cut(self._edge_ns(window, now_ns), self._sender.in_flight)
        self._book.fold_old(window)
        if window.stage is Stage.WARM_UP:
            at_ns = self._helm.warmed_up(self._line.warm_up, now_ns)
        else:
            at_ns = self._helm.enough(self._line.window, now_ns)
        if at_ns is not None:
            window.go_over(at_ns)

    def _change_stage(self, window: Window, now_ns: int) -> None:
        if now_ns < window.edge_ns:
            return
        at_ns = self._edge_ns(window, now_ns)
        self._progress_ns = 0  # who looks on is told of a new stage at once
        if window.stage is Stage.WARM_UP:
            window.begin(at_ns)
            self._line.open_window(at_ns)
            self._kept.open_window(at_ns, window.duration_ns)
        elif window.stage is Stage.MEASURING:
            self._end(window, at_ns)

    def _edge_ns(self, window: Window, now_ns: int) -> int:
        """Return where something ends that is noticed now."""
        return min(now_ns, window.edge_ns) if self._shared else now_ns

    def _end(self, window: Window, now_ns: int) -> None:
        self._line.cut(now_ns, self._sender.in_flight)
        window.end(now_ns)
        self._kept.close_window()
        self._sender.stop()

    def _gone(self, now_ns: int) -> str | None:
        """Ask after transport errors, but no more often than once a tick, why the server is gone."""
        if not self._sender.troubled or now_ns - self._asked_ns < TICK_NS:
            return None
        self._sender.troubled = False
        self._asked_ns = now_ns
        return self._watch.server_gone()

    def _next_tick_ns(self, window: Window, now_ns: int) -> int:
        """Give up what is overdue, resume what has rested, and return when to look again."""
        text = f"no reply within {self._load.timeout_s:g} s"
        oldest_ns = self._sender.give_up_overdue(now_ns - self._timeout_ns, text)
        self._sender.resume(now_ns)
        longest_ns = DRAIN_TICK_NS if window.stage is Stage.DRAINING else TICK_NS
        # A request sent after this look cannot be overdue before one whole time-out has passed.
        ticks_ns = [now_ns + min(longest_ns, self._timeout_ns), window.edge_ns]
        if window.stage is not Stage.DRAINING:
            ticks_ns.append(self._line.edge_ns)
        if oldest_ns is not None:
            ticks_ns.append(oldest_ns + self._timeout_ns)
        return min(ticks_ns)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector out of the loop."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
