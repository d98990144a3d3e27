"""A process under a guardian: the owner's end of the lifeline."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import psutil

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers import guardian

_START_TIMEOUT_S = 30.0
_MARGIN_S = 5.0
_KILL_POLL_S = 0.02

_running: list[GuardedProcess] = []
"""Those of this process that were not stopped yet, oldest first."""


class CannotExecuteError(Exception):
    """The program could not be executed; the text is the system's."""


class GuardedProcess:
    """One program and everything it starts; all of it ends when `stop` is called or this process dies.

    ``environment`` is laid over that of this process; ``grace_s`` lies between TERM and KILL.
    Raises `CannotExecuteError` at once, or from `wait_started` or `exit_code`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        workdir: Path,
        log: BinaryIO,
        grace_s: float,
    ) -> None:
        self.pid = 0
        self._grace_s = grace_s
        self._exit_code: int | None = None
        self._error = ""
        self._heard = b""
        self._released = False
        self._gone = False
        self._known: set[psutil.Process] = set()
        self._owner = os.getpid()
        self._lifeline, theirs = socket.socketpair()
        try:
            with theirs:
                self._guardian = _start_guardian(theirs, argv, grace_s, workdir, log)
        except OSError as error:
            self._lifeline.close()
            raise CannotExecuteError(f"its guardian cannot be started: {error}") from error
        _running.append(self)
        self._send_environment(environment)

    def wait_started(self) -> None:
        """Return once ``pid`` is known."""
        while not self.pid and self._hear(_START_TIMEOUT_S):
            pass
        if not self.pid:
            raise CannotExecuteError("its guardian did not start")

    def exit_code(self) -> int | None:
        """Return the exit code when the program ended by itself, else None.

        Raises `CannotExecuteError` when it never was one.
        """
        if not self._released:
            while self._hear(0):
                pass
        if self._error:
            raise CannotExecuteError(self._error)
        return self._exit_code

    def remember_descendants(self) -> None:
        """Note who belongs to it by now, in case the guardian is killed and cannot tell any more."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._known.update(psutil.Process(self._guardian.pid).children(recursive=True))

    def release(self) -> None:
        """Ask for the end without waiting for it."""
        if self._released or self._owner != os.getpid():
            return
        with contextlib.suppress(CannotExecuteError):
            self.exit_code()
        self.remember_descendants()
        self._released = True
        # Not close(): a forked copy of this process may hold the same end.
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        """End it and everything it started; return when all of it is gone."""
        if self._gone or self._owner != os.getpid():
            return
        self.release()
        while self._hear(self._grace_s + _MARGIN_S):
            pass
        self._bury()
        self._lifeline.close()
        self._gone = True
        with contextlib.suppress(ValueError):
            _running.remove(self)

    def _bury(self) -> None:
        """Kill what a guardian that was killed or hangs has left, and reap the guardian."""
        try:
            self._guardian.wait(_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        left = _kill(self._known)
        if left:
            raise LaunchError(
                "a server could not be ended",
                where=f"process {self.pid}",
                seen="still there after KILL: " + ", ".join(str(process.pid) for process in left),
                next_step="look at them with ps; a process in state D waits for a device or a disk",
            )

    def _send_environment(self, changes: Mapping[str, str]) -> None:
        entries = b"".join(os.fsencode(f"{key}={value}") + b"\0" for key, value in changes.items())
        # A guardian that is gone already cannot be told; wait_started says so.
        with contextlib.suppress(OSError):
            self._lifeline.sendall(entries + b"\0")

    def _hear(self, timeout_s: float) -> bool:
        """Take in what the guardian says within ``timeout_s``; False when that was nothing."""
        try:
            self._lifeline.settimeout(timeout_s)
            data = self._lifeline.recv(4096)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return False
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._understand(line.decode())
        return True

    def _understand(self, line: str) -> None:
        word, _, text = line.partition(" ")
        if word == "pid":
            self.pid = int(text)
        elif word == "error":
            self._error = text
        elif word == "exit" and not self._released:
            self._exit_code = int(text)

    def _hang_up(self) -> None:
        """Note that the guardian closed its end: without an exit it was killed, and the server with it."""
        if self._exit_code is None and not self._released:
            self._exit_code = self._guardian.wait()


def _start_guardian(
    lifeline: socket.socket, argv: Sequence[str], grace_s: float, workdir: Path, log: BinaryIO
) -> subprocess.Popen[bytes]:
    """Return a running guardian with this process's environment: the server's may not suit it."""
    return subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", guardian.__file__),
            *(str(lifeline.fileno()), str(grace_s), str(os.getpid())),
            *argv,
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=workdir,
        pass_fds=[lifeline.fileno()],
        start_new_session=True,
    )


def _kill(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Kill those that still run and return those that are there nevertheless, seconds later."""
    left = [process for process in processes if _runs(process)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for _ in range(round(_MARGIN_S / _KILL_POLL_S)):
        left = [process for process in left if _runs(process)]
        if not left:
            break
        psutil.wait_procs(left, timeout=_KILL_POLL_S)
    return left


def _runs(process: psutil.Process) -> bool:
    """Return whether it runs; a dead one that a careless init does not reap does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop_all() -> None:
    """End everything guarded that this process still runs: all at once, then wait for each.

    Raises the first `LaunchError` of one that could not be ended, after trying them all.
    """
    guarded = list(_running)
    for process in guarded:
        process.release()
    failures = [failure for failure in map(_failure_to_stop, guarded) if failure]
    if failures:
        raise failures[0]


def _failure_to_stop(process: GuardedProcess) -> LaunchError | None:
    try:
        process.stop()
    except LaunchError as error:
        return error
    return None


atexit.register(stop_all)
