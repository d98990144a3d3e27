"""Stands guard over one server: ends it and everything it started once its owner lets go or dies.

A program of its own, run by path under ``python -I -S`` so that it is up in milliseconds; it
imports nothing of this package::

    guardian.py LIFELINE_FD GRACE_S OWNER_PID ARGV...

The lifeline is one end of a socket pair. The owner writes the environment changes (``KEY=VALUE``,
each ended by NUL, then one more NUL) and afterwards nothing: when its end is shut down or closed,
or the owner is gone, the server is ended. The guardian writes lines: ``pid N``, ``error TEXT``
(ARGV cannot be executed), ``exit N`` (the server ended; negative for a signal). It closes its end
when nothing that the server started is left.

Why a parent and not a bystander: as the child subreaper (prctl(2)) it inherits every orphan, also
one that left the session, so "no child left" means "nothing left"; and only it reaps, so it can
never signal a process that merely got an old number again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys

# Importing typing itself would cost every start several milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_AGAIN_S = 0.05


class Guardian:
    """One server and whatever it starts."""

    def __init__(self, lifeline: int, grace_s: float, server: int) -> None:
        self._lifeline = lifeline
        self._grace_s = grace_s
        self._group = server
        self._server_lives = True
        self._ending = False
        self._force = False
        self._group_asked = False
        self._asked: set[int] = set()

    def watch(self, poller: select.poll, wake: int) -> None:
        """Return when nothing that the server started is left."""
        while self._reap():
            for fd, _ in poller.poll():
                if fd == wake:
                    self._hear(os.read(wake, 512))
                else:
                    # The owner shut the lifeline, or it is gone.
                    poller.unregister(fd)
                    self._end()
            if self._ending:
                self._push()

    def _reap(self) -> bool:
        """Collect the dead; False when no child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self._asked.discard(pid)
            if pid == self._group and self._server_lives:
                self._server_lives = False
                tell(self._lifeline, f"exit {os.waitstatus_to_exitcode(status)}")
                self._end()
                self._push()

    def _hear(self, signals: bytes) -> None:
        if signal.SIGALRM in signals:
            self._force = True
        if any(number in signals for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)):
            self._end()

    def _end(self) -> None:
        if not self._ending:
            self._ending = True
            # The first alarm ends the grace; those after it repeat the KILL for late forks.
            signal.setitimer(signal.ITIMER_REAL, max(self._grace_s, 0.001), KILL_AGAIN_S)

    def _push(self) -> None:
        """TERM whoever was not asked yet; after the grace, KILL whoever is left."""
        how = signal.SIGKILL if self._force else signal.SIGTERM
        # Once the root is reaped its number may be somebody else's: then only children are signalled.
        if self._server_lives and (self._force or not self._group_asked):
            send(os.killpg, self._group, how)
            self._group_asked = True
        for pid, group in children():
            asked = pid in self._asked or (self._group_asked and group == self._group)
            if self._force or not asked:
                send(os.kill, pid, how)
                self._asked.add(pid)


def children() -> Iterator[tuple[int, int]]:
    """Yield (process id, process group) of every direct child, adopted ones too."""
    me = os.getpid()
    # Not pathlib: importing it would cost every start 6 ms and every guardian 1 MB.
    for name in os.listdir("/proc"):  # noqa: PTH208 (see above)
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 (see above)
            # The command name, in brackets, may hold blanks and brackets itself.
            fields = file.read().rpartition(b")")[2].split()
            if int(fields[1]) == me:
                yield int(name), int(fields[2])


def send(call: Callable[[int, int], None], number: int, how: int) -> None:
    """Send a signal; who is gone already needs none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        call(number, how)


def tell(lifeline: int, line: str) -> None:
    """Write one line to the owner; a dead owner reads nothing."""
    with contextlib.suppress(OSError):
        os.write(lifeline, f"{line}\n".encode(errors="replace"))


def prctl(option: int, value: int) -> None:
    """Set a process attribute; where there is no prctl the guard is weaker, not absent."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def read_changes(lifeline: int) -> dict[bytes, bytes] | None:
    """Return the environment changes; None when the owner died before it said them all."""
    data = b""
    while not (data == b"\0" or data.endswith(b"\0\0")):
        chunk = os.read(lifeline, 65536)
        if not chunk:
            return None
        data += chunk
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if entry)
    return {key: value for key, _, value in pairs}


def start(argv: list[str]) -> tuple[int, str]:
    """Return the server's process id, and why ARGV could not be executed or nothing.

    Returns once the new program runs: a signal sent before would meet a half-made child that has
    no group yet and still has our handlers.
    """
    me = os.getpid()
    read_end, write_end = os.pipe()
    # This process has one thread, so forking it is safe.
    server = os.fork()
    if server == 0:
        become_server(argv, write_end, me)
    os.close(write_end)
    # Both ends close on exec: the end of the file is the start of the program.
    with os.fdopen(read_end, "rb") as failure:
        return server, failure.read().decode()


def become_server(argv: list[str], failure: int, guardian: int) -> NoReturn:
    """Turn this fresh child into the server, in a session and process group of its own."""
    try:
        os.setsid()
        # Should the guardian itself be killed, the kernel kills the root of the tree.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == guardian:
            os.execvpe(argv[0], argv, os.environ)  # noqa: S606 (starting servers is its purpose)
    except OSError as error:
        os.write(failure, str(error.strerror).encode())
    os._exit(127)


def wake_on_signals() -> int:
    """Return a descriptor that becomes readable, with its number, whenever a signal arrives."""
    wake, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return wake


def watch_owner(poller: select.poll, owner: int) -> None:
    """Wake when the owner dies, even if a fork of it keeps the lifeline open."""
    # On a kernel without pidfd_open the lifeline alone has to tell.
    with contextlib.suppress(AttributeError, OSError):
        poller.register(os.pidfd_open(owner), select.POLLIN)


def main(arguments: list[str]) -> int:
    """Start the server, guard it, and return when nothing of it is left."""
    lifeline, grace_s, owner = int(arguments[0]), float(arguments[1]), int(arguments[2])
    os.set_inheritable(lifeline, False)
    changes = read_changes(lifeline)
    poller = select.poll()
    watch_owner(poller, owner)
    if changes is None or os.getppid() != owner:
        return 1
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake = wake_on_signals()
    os.environb.update(changes)
    server, failure = start(arguments[3:])
    if failure:
        tell(lifeline, f"error {failure}")
    tell(lifeline, f"pid {server}")
    poller.register(wake, select.POLLIN)
    poller.register(lifeline, select.POLLIN)
    Guardian(lifeline, grace_s, server).watch(poller, wake)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
