"""Who looks on while a session runs: a person at a terminal, a log that is read later, or nobody.

It belongs to the reception, so it knows pytest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.interfaces import Clock
from pytest_servebench.leasing.leases import Tell
from pytest_servebench.plan import Case
from pytest_servebench.recording import REPORT_FIELD
from pytest_servebench.reports.case_words import case_words, duration_words
from pytest_servebench.reports.progress import LiveProgress, own_terminal, wants_progress
from pytest_servebench.results import Progress
from pytest_servebench.spreading import has_case

FIRST_WORD_S, NEXT_WORD_S = 10.0, 60.0
"""After how long a wait is worth a line of a log, and how long after that the next one."""


class Watching:
    """A person's view of a load, if a person is there."""

    def __init__(self, live: LiveProgress) -> None:
        self._live = live

    def progress(self, progress: Progress) -> None:
        """Show how far the load is."""
        self._live.progress(progress)

    def server_gone(self) -> str | None:
        """Know nothing of the server: the conductor looks at its process."""
        return None


class LoggedWaits:
    """Writes that something waits: once it has for ten seconds, and each minute from then on."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._before_s = 0.0
        self._next_s = FIRST_WORD_S

    def __call__(self, text: str, waited_s: float) -> None:
        """Be told, at any pace, what for and for how long; a shorter time than before is another wait."""
        if waited_s < self._before_s:
            self._next_s = FIRST_WORD_S
        self._before_s = waited_s
        if waited_s >= self._next_s:
            self._next_s = waited_s + NEXT_WORD_S
            self._log(f"servebench {text} ({waited_s:.0f} s so far)")


class FinishedCases:
    """Says what became of each case, in a line of a log that is read while a long session runs.

    Hooks of the process that has the terminal, also for the workers of pytest-xdist: nothing is done while
    a test runs here. With -v each case has its line; else the first one after each ten seconds, so that
    short sessions are as short as they were.
    """

    def __init__(
        self, log: Callable[[str], None], *, every: bool, stacks: Collection[str], clock: Clock
    ) -> None:
        self._log = log
        self._every = every
        self._stacks = stacks
        self._clock = clock
        self._told_ns = self._began_ns = clock.now_ns()
        self._cases = self._done = 0
        self._words: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the cases of this process; workers collect theirs themselves."""
        self._cases = sum(has_case(item.nodeid, self._stacks) for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Count the cases that the workers will share."""
        self._cases = sum(has_case(node_id, self._stacks) for node_id in ids)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what was measured."""
        self._words += [case_words(parcel["record"]) for parcel in vars(report).get(REPORT_FIELD, ())]

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self) -> None:
        """Say it, once pytest has written what it writes of the test."""
        words, self._words = self._words, []
        self._done += bool(words)
        now_ns = self._clock.now_ns()
        if not words or not (self._every or now_ns - self._told_ns >= FIRST_WORD_S * 1e9):
            return
        self._told_ns = now_ns
        of = f" of {self._cases}" if self._done <= self._cases else ""
        since = duration_words((now_ns - self._began_ns) / 1e9)
        for each in words:
            self._log(f"servebench {self._done}{of}, {since}: {each}")


class Onlookers:
    """Those of one session; to be made while pytest captures nothing."""

    def __init__(self, config: pytest.Config, repeats: int = 1, stacks: Collection[str] = ()) -> None:
        self._repeats = repeats
        self._stacks = stacks
        self._config = config
        self._terminal = own_terminal(sys.stdout) if _is_watched(config) else None
        self._live: LiveProgress | None = None
        self._announced: set[str] = set()
        self._watch_finished()

    def close(self) -> None:
        """Let go of the terminal."""
        if self._terminal is not None:
            self._terminal.close()

    @property
    def wait(self) -> Tell | None:
        """How somebody is told what a case waits for; None: nobody watches and nothing can be written."""
        if self._terminal is not None:
            return lambda text, _: self._show(text)
        silent = self._config.get_verbosity() < 0 or hasattr(self._config, "workerinput")
        return None if silent else LoggedWaits(self._log)

    def making(self, name: str, text: str) -> None:
        """Tell of the making of an image: each line to a person, to a log only that it is begun."""
        if self._terminal is not None:
            self._show(f"{name}: {text}")
        elif name not in self._announced and self._config.get_verbosity() >= 0:
            self._announced.add(name)
            self._log(f"servebench image {name}: {text}")

    @contextmanager
    def watching(self, case: Case) -> Iterator[Watching]:
        """Show how a case goes, in a line that is gone afterwards."""
        # In front: a narrow terminal cuts the end off.
        which = f"repeat {case.repeat} of {self._repeats}, " if case.repeat else ""
        with LiveProgress(self._terminal, self._cursor, label=f"{which}{case.id}") as live:
            self._live = live
            try:
                yield Watching(live)
            finally:
                self._live = None  # else what waits later would open the line again, and nobody erase it

    def _watch_finished(self) -> None:
        """Have each case told when it ends, where no live line has shown it."""
        config, workers = self._config, getattr(self._config.option, "numprocesses", None)
        silent = config.get_verbosity() < 0 or hasattr(config, "workerinput")
        if silent or (self._terminal is not None and not workers):
            return
        told = FinishedCases(
            self._log, every=config.get_verbosity() > 0, stacks=self._stacks, clock=MonotonicClock()
        )
        config.pluginmanager.register(told, "servebench-finished-cases")

    def _show(self, text: str) -> None:
        """Show a text in the place of the load's progress."""
        if self._live is not None:
            self._live.show(f"{text} | {self._live.label}")

    def _log(self, text: str) -> None:
        """Write a line between pytest's own, as its live log does; an xdist worker has nowhere to."""
        plugins = self._config.pluginmanager
        reporter: Any = plugins.get_plugin("terminalreporter")
        capture: Any = plugins.get_plugin("capturemanager")
        if reporter is None or capture is None or hasattr(self._config, "workerinput"):
            return
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            if reporter._tw.width_of_current_line:  # noqa: SLF001 (dots of pytest-xdist's workers are of no file)
                reporter.write_line("")
            reporter.write_line(text)

    def _cursor(self) -> int:
        """Return where pytest's unfinished line ends, once it is really written."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return 0
        reporter._tw.flush()  # noqa: SLF001 (its writer is nowhere else)
        return int(reporter._tw.width_of_current_line)  # noqa: SLF001 (as above)


def _is_watched(config: pytest.Config) -> bool:
    return wants_progress(
        is_terminal=sys.stdout is not None and sys.stdout.isatty(),  # closed: python has no file for it
        quiet=config.get_verbosity() < 0,
        worker=hasattr(config, "workerinput"),
        environment=os.environ,
    )
