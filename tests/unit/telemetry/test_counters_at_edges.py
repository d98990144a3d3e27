"""When a server is asked for its counters, who waits for it, and between which readings figures are."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from pytest_servebench.errors import LoadError
from pytest_servebench.results import Progress
from pytest_servebench.samples import Reply
from pytest_servebench.telemetry.counters import (
    AFTER,
    BEFORE,
    BEGIN,
    END,
    EdgeReader,
    Reading,
    span_of,
)

S = 10**9
WINDOW = (100 * S, 110 * S)
WARM_UP = Progress(
    stage="warm-up",
    elapsed_s=0.0,
    remaining_s=1.0,
    completed=0,
    errors=0,
    throughput_per_s=0.0,
    response_time_p95_ms=None,
)
MEASURING, DRAINING = replace(WARM_UP, stage="measuring"), replace(WARM_UP, stage="draining")


class TensOfSeconds:
    """A clock of readings: each takes no time, and ten seconds lie between two."""

    def __init__(self) -> None:
        self._looks = 0

    def now_ns(self) -> int:
        self._looks += 1
        return (90 + 10 * ((self._looks - 1) // 2)) * S

    def sleep_s(self, seconds: float) -> None:
        raise AssertionError(f"nobody sleeps {seconds} s here")


class Server:
    """Remembers who asks it; answers the reader's thread when it is let."""

    def __init__(self) -> None:
        self.asked_by: list[str] = []
        self.heard = threading.Semaphore(0)
        self.free = threading.Semaphore(0)
        self.silent = False

    def ask(self) -> Reply:
        self.asked_by.append(threading.current_thread().name)
        self.heard.release()
        if threading.current_thread() is not threading.main_thread():
            assert self.free.acquire(timeout=20)
        if self.silent:
            raise LoadError("A request was not answered.", seen="connection refused")
        return Reply(200, {}, str(len(self.asked_by)).encode())

    def reader(self) -> EdgeReader:
        return EdgeReader(self.ask, TensOfSeconds())


def read_at_edges(server: Server) -> EdgeReader:
    """Go through the stages of a load."""
    reader = server.reader()
    reader.start()
    server.free.release(2)
    for progress in (WARM_UP, MEASURING, DRAINING):
        reader.progress(progress)
    return reader


def test_the_server_is_asked_when_stages_change() -> None:
    """Before the load, and at both edges of the window by a thread of its own; not after it once more."""
    server = Server()
    readings = read_at_edges(server).readings()
    assert list(readings) == [BEFORE, BEGIN, END]
    assert [reading.at_ns // S for reading in readings.values()] == [90, 100, 110]
    assert server.asked_by[0] == "MainThread"
    assert set(server.asked_by[1:]) == {"servebench-counters"}


def test_who_sends_never_waits_for_an_answer() -> None:
    """A server that does not answer holds its reader up, and not the sender."""
    server = Server()
    reader = server.reader()
    reader.start()
    for progress in (WARM_UP, WARM_UP, MEASURING, MEASURING, DRAINING, DRAINING):
        reader.progress(progress)
    assert server.heard.acquire(timeout=20), "before the load"
    assert server.heard.acquire(timeout=20), "at the window's begin, unanswered until now"
    assert len(server.asked_by) == 2
    server.free.release(2)
    assert list(reader.readings()) == [BEFORE, BEGIN, END]
    assert len(server.asked_by) == 3, "once for each stage"


def test_without_stages_it_is_asked_before_and_after() -> None:
    """A load that nobody told of is read as a whole."""
    server = Server()
    reader = server.reader()
    reader.start()
    assert list(reader.readings()) == [BEFORE, AFTER]


def test_a_server_that_falls_silent_is_asked_again() -> None:
    """At the end once more, since it may have been busy; then why it gave none is told."""
    server = Server()
    server.silent = True
    readings = read_at_edges(server).readings()
    assert list(readings) == [BEFORE, BEGIN, END, AFTER]
    assert {reading.absent for reading in readings.values()} == {
        "the server's counters could not be read: connection refused"
    }


def test_stopping_twice_is_stopping() -> None:
    """Also where nothing was ever read."""
    reader = Server().reader()
    reader.stop()
    reader.stop()


def reading(at_s: float, took_s: float = 0.0, absent: str = "") -> Reading:
    """Return a reading around an instant."""
    reply = None if absent else Reply(200, {}, b"{}")
    asked, answered = round((at_s - took_s / 2) * S), round((at_s + took_s / 2) * S)
    return Reading(asked_ns=asked, answered_ns=answered, reply=reply, absent=absent)


FIRST, LAST = reading(98.0), reading(111.0)


def test_figures_are_those_between_the_edges() -> None:
    """How far the readings were from the edges is told, a server's time to answer halved."""
    begin, end = reading(100.25, took_s=0.5), reading(110.125)
    span = span_of({BEFORE: FIRST, BEGIN: begin, END: end}, WINDOW)
    assert (span.first, span.last, span.offset_s, span.reason) == (begin, end, (0.25, 0.125), "")


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (None, "the begin of the window was not seen"),
        (reading(105.5), "at the begin of the window, the server took 5.50 s to tell its counters"),
        (reading(101.0, absent="it was silent"), "at the begin of the window, it was silent"),
    ],
    ids=["not seen", "too late", "not answered"],
)
def test_without_a_begin_figures_are_the_whole_loads(begin: Reading | None, reason: str) -> None:
    """And say so, with the reason: they count the warm-up too."""
    readings = {BEFORE: FIRST, END: LAST} if begin is None else {BEFORE: FIRST, BEGIN: begin, END: LAST}
    span = span_of(readings, WINDOW)
    assert (span.first, span.last, span.offset_s) == (FIRST, LAST, None)
    assert span.reason == f"{reason}: what the server counted is of the whole load, its warm-up too"


@pytest.mark.parametrize("end", [None, reading(110.0, absent="busy")], ids=["not told", "not answered"])
def test_without_an_end_the_reading_after_the_load_counts(end: Reading | None) -> None:
    """Nothing is sent by then, so that it tells of no more than what was in flight."""
    readings = {BEFORE: FIRST, BEGIN: reading(100.0), AFTER: LAST}
    span = span_of(readings if end is None else {**readings, END: end}, WINDOW)
    assert (span.last, span.offset_s) == (LAST, (0.0, 1.0))
