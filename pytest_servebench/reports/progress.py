"""One live line below pytest's own output while a load runs, and nothing left of it afterwards.

Drawn by hand and not with rich's Live: that one refreshes from a thread of its own,
which would cost CPU in the process whose load is measured, and it does not know the
column at which pytest left its line of dots.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from typing import TextIO

from pytest_servebench.reports.rendering import NOT_AVAILABLE
from pytest_servebench.results import Progress

ERASE_LINE = "\r\x1b[2K"
ONE_UP = "\x1b[1A"
NARROWEST = 20
CTRL_C = "^C"
"""What a terminal writes when the key is pressed."""


def wants_progress(*, is_terminal: bool, quiet: bool, worker: bool, environment: Mapping[str, str]) -> bool:
    """Whether a person is watching: a terminal that can move its cursor, not -q, no xdist worker, no CI."""
    machine = environment.get("CI", "").lower() not in ("", "0", "false")
    dumb = environment.get("TERM", "") in ("", "dumb")
    return is_terminal and not (quiet or worker or machine or dumb)


def own_terminal(stream: TextIO) -> FileIO | None:
    """Return a way of our own to the terminal behind ``stream``, or None when there is none.

    pytest's capture redirects the descriptor itself while a test runs, so this has to be
    called while it does not: in ``pytest_configure``, with ``sys.stdout``. Close what it
    returns in ``pytest_unconfigure``. Writing to it never waits: a terminal that is
    stopped (Ctrl-S) or slow must not stop the load that is measured.
    """
    with suppress(OSError, ValueError):
        if stream.isatty():
            path = os.ttyname(stream.fileno())
            return FileIO(os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK), "w")
    return None


def progress_text(label: str, progress: Progress, room: int | None = None) -> str:
    """Return the line: what runs, its stage, requests/s, p95, errors and the time left.

    Where that is longer than ``room`` its words are shorter, so that the end of a case's name, which tells
    it from others, is not cut off; without errors these go first.
    """
    p95_ms = progress.response_time_p95_ms
    p95 = NOT_AVAILABLE if p95_ms is None else f"{p95_ms:,.1f} ms"
    errors = f"{progress.errors:,} error{'' if progress.errors == 1 else 's'}"
    speed = f"{progress.throughput_per_s:,.0f}"
    left = f"{max(0.0, progress.remaining_s):.0f} s"
    short = f"{progress.stage} {left}, {speed}/s, p95 {p95}"
    wrong = f", {errors}" if progress.errors else ""
    forms = (
        f"{progress.stage} {left} left, {speed} requests/s, p95 {p95}, {errors} | {label}",
        f"{progress.stage} {left} left, {speed}/s, p95 {p95}{wrong} | {label}",
        f"{short}{wrong} | {label}",
    )
    return next((form for form in forms if room is None or len(form) <= room), forms[-1])


@dataclass
class LiveProgress:
    """Shows a load that runs; the ``progress`` half of `interfaces.Watch`.

    ``terminal`` is what `own_terminal` returned, or None to show nothing. ``cursor`` must
    bring pytest's own pending output to the screen and return the column where its line
    ends; there the cursor is again after `finish`. It is called once, when the line opens::

        def cursor() -> int:
            with capturemanager.global_and_fixture_disabled():
                terminalreporter.flush()  # else the dots come out in the middle of the live line
            return terminalreporter._tw.width_of_current_line

        with LiveProgress(terminal, cursor, label=case.id) as live:
            driver.run(..., watch)  # watch.progress calls live.progress

    It has to end within the phase of the test it began in, since pytest prints between phases.
    """

    terminal: FileIO | None
    cursor: Callable[[], int] = lambda: 0
    label: str = ""
    _shown: bool = field(default=False, init=False)
    _indent: int = field(default=0, init=False)

    def __enter__(self) -> LiveProgress:  # noqa: PYI034 (typing.Self is 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def progress(self, progress: Progress) -> None:
        """Show how far the load is."""
        if self.terminal is not None:
            self.show(progress_text(self.label, progress, self._room()))

    def show(self, text: str) -> None:
        """Replace the live line by ``text``, cut to the terminal's width."""
        if self.terminal is None:
            return
        opening = "" if self._shown else self._open()
        self._shown = True
        self._write(opening + ERASE_LINE + text[: self._room()])

    def finish(self) -> None:
        """Erase the live line and put the cursor back where pytest left it; may be called twice."""
        if not self._shown:
            return
        back = f"{ONE_UP}\x1b[{self._indent}C" if self._indent else ""
        self._write(ERASE_LINE + back)
        self._shown = False

    def _open(self) -> str:
        """Return what leaves pytest's unfinished line alone: the live line goes below it."""
        self._indent = self.cursor() % self._width()
        return "\n" if self._indent else ""

    def _room(self) -> int:
        """Return how long the line may be: a Ctrl-C is echoed behind it, and must not wrap either."""
        return self._width() - len(CTRL_C) - 1

    def _width(self) -> int:
        assert self.terminal is not None
        try:
            return max(NARROWEST, os.get_terminal_size(self.terminal.fileno()).columns)
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        """Write what the terminal takes now; one that went away ends the show, never the measurement."""
        assert self.terminal is not None
        try:
            self.terminal.write(text.encode("ascii", "replace"))
        except (OSError, ValueError):
            self.terminal = None
            self._shown = False
