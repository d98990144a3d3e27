"""Who may start and who may measure now, across all processes of a user on this machine.

Locks are the kernel's (``F_OFD_SETLK``: a byte for each resource in one file), so they end with the
process that holds them, however that ends; no lock file is ever stale. filelock's ReadWriteLock would be
a database per resource, and cannot say who holds it. A process that forks without exec shares its locks
with the child, as long as it does not release them itself.

A turn is taken before each lock and given back once the lock is held: whoever waits for a window keeps
later start-ups behind it, and cannot starve. All take in one order and nobody upgrades, so that nobody
waits in a circle.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pytest_servebench.errors import LaunchError
from pytest_servebench.holders import Holder, Note, forget_the_dead, holders_in
from pytest_servebench.interfaces import Clock
from pytest_servebench.lanes import Hold, Lane, Machine, Resource, to_measure, to_start
from pytest_servebench.own_folder import own_folder

PERIOD_S = 0.1
"""How often a held lock is tried again: that wakes a process up, and so costs a window of somebody else."""
TELL_EVERY = 10
"""Tries between two words to whoever watches."""

STARTING, MEASURING = "starts", "measures"
WAITING = "waits"

_LOCK_LAYOUT = "hhqqi4x"
"""``struct flock``: type, whence, start, length, pid."""


class Leases:
    """The leases of one session on one lane; ``tell`` is called while it waits, None: nobody watches.

    ``folder`` is made when it is first needed, for this user alone.
    """

    def __init__(
        self,
        lane: Lane,
        machine: Machine,
        folder: Path,
        clock: Clock,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._lane = lane
        self._machine = machine
        self._folder = folder
        self._clock = clock
        self._tell = tell

    @contextmanager
    def starting(self, case: str) -> Iterator[float]:
        """Hold the lane for a start-up, which others share; yields how many seconds that was waited for."""
        with self._held(to_start(self._lane, self._machine), STARTING, case) as waited_s:
            yield waited_s

    @contextmanager
    def measuring(self, case: str) -> Iterator[float]:
        """Hold the lane alone; yields how many seconds that was waited for."""
        with self._held(to_measure(self._lane), MEASURING, case) as waited_s:
            yield waited_s

    @contextmanager
    def _held(self, holds: Sequence[Hold], doing: str, case: str) -> Iterator[float]:
        began_ns = self._clock.now_ns()
        with ExitStack() as held:
            try:
                folder = own_folder(self._folder)
                forget_the_dead(folder)
                wanted = Holder(pid=os.getpid(), case=case, doing=WAITING, holds=holds)
                note = held.enter_context(Note(folder, wanted))
                turns = held.enter_context(_Locks(folder / "turns"))
                locks = held.enter_context(_Locks(folder / "locks"))
                for hold in holds:
                    self._take(turns, locks, hold, folder)
                note.write(Holder(pid=os.getpid(), case=case, doing=doing, holds=holds))
            except OSError as error:
                raise _no_locks(self._folder, error) from error
            yield (self._clock.now_ns() - began_ns) / 1e9

    def _take(self, turns: _Locks, locks: _Locks, hold: Hold, folder: Path) -> None:
        resource = hold.resource
        self._wait(lambda: turns.take(resource, exclusive=True), hold, folder)
        self._wait(lambda: locks.take(resource, exclusive=hold.exclusive), hold, folder)
        turns.give_back(resource)

    def _wait(self, take: Callable[[], bool], hold: Hold, folder: Path) -> None:
        tries = 0
        while not take():
            if self._tell is not None and tries % TELL_EVERY == 0:
                self._tell(waiting_text(hold, holders_in(folder)))
            tries += 1
            self._clock.sleep_s(PERIOD_S)


def waiting_text(hold: Hold, holders: Sequence[Holder]) -> str:
    """Return what is waited for, and which process does what with it; else those that wait too."""
    place = hold.resource
    in_the_way = [
        one
        for one in holders
        if (one.pid, one.doing) != (os.getpid(), WAITING)
        and any(other.resource == place and (other.exclusive or hold.exclusive) for other in one.holds)
    ]
    busy = [one for one in in_the_way if one.doing != WAITING] or in_the_way
    who = ", ".join(f"process {one.pid} {one.doing} {one.case}" for one in busy)
    return f"waiting for {place.name}" + (f": {who}" if who else "")


def _no_locks(folder: Path, error: OSError) -> LaunchError:
    return LaunchError(
        "nothing can be started: no lock can be had that keeps measurements apart",
        where=str(folder),
        seen=str(error),
        next_step="give a folder of a local file system for temporary files with TMPDIR",
    )


class _Locks:
    """One open file, in which this object locks bytes; closing it gives all of them back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")

    def __enter__(self) -> _Locks:  # noqa: PYI034 (typing.Self is 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        # Not by closing alone: a forked child may hold the same open file.
        with self._file:
            self._ask(fcntl.F_UNLCK, 0, 0)

    def take(self, resource: Resource, *, exclusive: bool) -> bool:
        """Return whether the resource is held now; never waits."""
        try:
            self._ask(fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK, resource.place, 1)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def give_back(self, resource: Resource) -> None:
        self._ask(fcntl.F_UNLCK, resource.place, 1)

    def _ask(self, kind: int, start: int, length: int) -> None:
        asked = struct.pack(_LOCK_LAYOUT, kind, os.SEEK_SET, start, length, 0)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, asked)
