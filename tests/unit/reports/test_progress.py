"""The live line: shown to persons only, and gone without a trace."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import termios
import tty
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from pytest_servebench.reports.progress import LiveProgress, own_terminal, progress_text, wants_progress
from pytest_servebench.results import Progress

MEASURING = Progress(
    stage="measuring",
    elapsed_s=2.0,
    remaining_s=3.2,
    completed=400,
    errors=1,
    throughput_per_s=1234.5,
    response_time_p95_ms=8.04,
)


@dataclass
class FakeTerminal:
    """A pseudo-terminal and what was written to it."""

    master: int
    slave: io.TextIOWrapper

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.slave.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def written(self) -> str:
        return os.read(self.master, 100_000).decode()


@pytest.fixture
def terminal() -> Iterator[FakeTerminal]:
    """Return a pseudo-terminal of 80 columns."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    with os.fdopen(slave, "w", encoding="utf-8") as stream:
        fake = FakeTerminal(master, stream)
        fake.resize(80)
        yield fake
    os.close(master)


def test_line_says_all_a_watcher_wants() -> None:
    """Stage, time left, speed, p95, errors and what runs are in the line."""
    assert progress_text("triton-onnx", MEASURING) == (
        "measuring 3 s left, 1,234 requests/s, p95 8.0 ms, 1 error | triton-onnx"
    )


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (80, "measuring 3 s left, 1,234 requests/s, p95 8.0 ms, 1 error | triton-onnx"),
        (70, "measuring 3 s left, 1,234/s, p95 8.0 ms, 1 error | triton-onnx"),
        (20, "measuring 3 s, 1,234/s, p95 8.0 ms, 1 error | triton-onnx"),
    ],
)
def test_a_narrow_terminal_gets_shorter_words(room: int, text: str) -> None:
    """The end of a case's name tells it from others, so words go before it; errors are never left out."""
    assert progress_text("triton-onnx", MEASURING, room) == text


def test_without_errors_they_are_the_first_to_go() -> None:
    """0 errors is what everybody expects."""
    text = progress_text("triton-onnx", replace(MEASURING, errors=0), 60)
    assert text == "measuring 3 s left, 1,234/s, p95 8.0 ms | triton-onnx"


def test_missing_p95_is_not_available() -> None:
    """Before the first reply there is no p95: n/a, not 0."""
    start = Progress(
        stage="warm-up",
        elapsed_s=0.0,
        remaining_s=-0.1,
        completed=0,
        errors=0,
        throughput_per_s=0.0,
        response_time_p95_ms=None,
    )
    assert progress_text("x", start) == "warm-up 0 s left, 0 requests/s, p95 n/a, 0 errors | x"


@pytest.mark.parametrize(
    ("changes", "environment", "expected"),
    [
        ({}, {"TERM": "xterm"}, True),
        ({}, {"TERM": "xterm", "CI": "false"}, True),
        ({}, {"TERM": "xterm", "CI": "true"}, False),
        ({}, {"TERM": "dumb"}, False),
        ({}, {}, False),
        ({"is_terminal": False}, {"TERM": "xterm"}, False),
        ({"quiet": True}, {"TERM": "xterm"}, False),
        ({"worker": True}, {"TERM": "xterm"}, False),
    ],
)
def test_only_a_person_sees_it(
    changes: dict[str, bool], environment: dict[str, str], *, expected: bool
) -> None:
    """A pipe, -q, an xdist worker, CI and a terminal without cursor movements get nothing."""
    given = {"is_terminal": True, "quiet": False, "worker": False, **changes}
    assert wants_progress(**given, environment=environment) is expected


def test_line_goes_below_the_dots_and_leaves_them_as_they_were(terminal: FakeTerminal) -> None:
    """The line is opened below; at the end it is erased and the cursor is behind the dots again."""
    own = own_terminal(terminal.slave)
    assert own is not None
    with own, LiveProgress(own, cursor=lambda: 12, label="case") as live:
        live.show("one")
        assert terminal.written() == "\n\r\x1b[2Kone"
        live.show("two")
        assert terminal.written() == "\r\x1b[2Ktwo"
        live.finish()
        assert terminal.written() == "\r\x1b[2K\x1b[1A\x1b[12C"
        live.show("again")
        assert terminal.written() == "\n\r\x1b[2Kagain"
    assert terminal.written() == "\r\x1b[2K\x1b[1A\x1b[12C"


def test_line_stays_where_it_is_on_an_empty_line(terminal: FakeTerminal) -> None:
    """With the cursor at the left edge there is nothing to step around."""
    own = own_terminal(terminal.slave)
    assert own is not None
    with own, LiveProgress(own) as live:
        live.progress(MEASURING)
        assert terminal.written().startswith("\r\x1b[2Kmeasuring 3 s left")
    assert terminal.written() == "\r\x1b[2K"


def test_long_line_is_cut_to_the_terminal(terminal: FakeTerminal) -> None:
    """A wrapped line cannot be erased, not even with the ^C of an interrupt behind it; a resize is seen."""
    own = own_terminal(terminal.slave)
    assert own is not None
    with own, LiveProgress(own) as live:
        terminal.resize(30)
        live.show("x" * 100)
        assert terminal.written() == "\r\x1b[2K" + "x" * 27


def test_nothing_shown_leaves_nothing(terminal: FakeTerminal) -> None:
    """A load that ends before the first report writes nothing at all."""
    own = own_terminal(terminal.slave)
    assert own is not None
    with own, LiveProgress(own, cursor=lambda: 5):
        pass
    with pytest.raises(BlockingIOError):
        terminal.written()


def test_stopped_terminal_does_not_stop_the_load(terminal: FakeTerminal) -> None:
    """A terminal that takes no more (Ctrl-S, a full buffer) is not waited for."""
    own = own_terminal(terminal.slave)
    assert own is not None
    with own, LiveProgress(own) as live:
        for _ in range(2_000):
            live.progress(MEASURING)
    assert len(terminal.written()) < 2_000 * 70


def test_terminal_that_went_away_ends_the_show(terminal: FakeTerminal) -> None:
    """A closed terminal is no reason for a measurement to fail."""
    own = own_terminal(terminal.slave)
    assert own is not None
    own.close()
    live = LiveProgress(own)
    live.show("one")
    live.finish()
    assert live.terminal is None


def test_a_file_is_no_terminal() -> None:
    """Output to a file or pipe gets no terminal, and a line without a terminal writes nothing."""
    stream = io.StringIO()
    assert own_terminal(stream) is None
    LiveProgress(None).progress(MEASURING)
    assert stream.getvalue() == ""
