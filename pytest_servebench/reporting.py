"""The report of a session: at its end, in the process that has all records, a folder is written.

It is written whatever became of the tests, after the gate has judged and pytest-benchmark has saved: a report
that fails to be written costs no record.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_servebench.comparison.saved_runs import SavedRun
from pytest_servebench.recording import Recorder

NAME = "this run"
"""What tables call the session's own run."""
_NOTHING = "servebench report: nothing was measured, so none was written"
_SHORT = "servebench report: none, as loads are short and nothing is recorded (--benchmark-disable)"
_BROKEN = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)
"""How a session ends that has something else to say."""


class SessionReport:
    """Writes the report of a session, and says where."""

    def __init__(self, config: pytest.Config, folder: Path, recorder: Recorder) -> None:
        self._config = config
        self._folder = folder
        self._recorder = recorder
        self._lines: tuple[str, ...] = ()
        self._failed = False

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        """Write once the gate has judged and all is saved; what cannot be written fails the session."""
        finished = yield
        option = self._config.option
        runs = not (option.collectonly or getattr(option, "setupplan", False))
        if self._recorder.records:
            self._lines = tuple(self._write())
        elif runs and exitstatus not in _BROKEN:
            self._lines = (_SHORT if self._recorder.short else _NOTHING,)
        if self._failed:
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        return finished

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where it is, or why there is none; the path comes last."""
        for line in self._lines:
            terminalreporter.write_line(line, red=self._failed)

    def _write(self) -> list[str]:
        from pytest_servebench.reports.folder import write_report

        run = SavedRun(name=NAME, records=tuple(self._recorder.records), facts=(self._recorder.facts,))
        try:
            written = write_report([run], self._folder)
        except OSError as error:
            self._failed = True
            return [
                f"servebench report: cannot be written into {self._folder}: {error}; {self._what_is_left()}"
            ]
        except Exception as error:  # noqa: BLE001 (a fault of ours must not cost the table of a long run)
            self._failed = True
            fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return [f"servebench report: cannot be made, by a fault of ours: {fault}; {self._what_is_left()}"]
        left_out = [f"servebench report: {line}" for line in written.left_out]
        return [*left_out, f"servebench report: {_near(written.paths[0])}"]

    def _what_is_left(self) -> str:
        """Return what became of the records, and how the report is made after all."""
        if self._recorder.is_saved:
            return "the records are saved: servebench report RUN.json writes it anew"
        return "the records are not saved either, as nobody asked for it: --benchmark-autosave"


def _near(path: Path) -> Path:
    """Return a path as a person in the working directory calls it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def open_report(config: pytest.Config, folder: Path | None, recorder: Recorder) -> None:
    """Register the session's report; none is asked for without ``folder``, and a worker writes none."""
    if folder is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SessionReport(config, folder, recorder), "servebench-report")
