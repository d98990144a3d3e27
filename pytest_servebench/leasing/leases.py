"""Who may start and who may measure now, across all processes of a user on this machine.

Locks are the kernel's (``F_OFD_SETLK``: a byte for each resource in one file), so they end with the
process that holds them, however that ends; no lock file is ever stale. filelock's ReadWriteLock would be
a database per resource, and cannot say who holds it. A process that forks without exec shares its locks
with the child, as long as it does not release them itself.

A lock is worth nothing once its file was removed: others make a new one. So cleaners are kept from it, what
was locked is compared with what others find, and a window that lost its lock does not count.

A turn is taken before each lock and given back once the lock is held: whoever waits for a window keeps
later start-ups behind it, and cannot starve. All take in one order and nobody upgrades, so that nobody
waits in a circle.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pytest_servebench.errors import LaunchError
from pytest_servebench.folders.own_folder import own_folder
from pytest_servebench.interfaces import Clock
from pytest_servebench.leasing.holders import Holder, Note, forget_the_dead, holders_in
from pytest_servebench.leasing.lanes import Hold, Lane, Machine, Resource, to_measure, to_start

PERIOD_S = 0.1
"""How often a held lock is tried again: that wakes a process up, and so costs a window of somebody else."""
TELL_EVERY = 10
"""Tries between two words to whoever watches."""

STARTING, MEASURING, ENDING = "starts", "measures", "ends"
WAITING = "waits"

_LOCK_LAYOUT = "hhqqi4x"
"""``struct flock``: type, whence, start, length, pid."""


Tell = Callable[[str, float], None]
"""Told about once a second, while somebody waits, what for and for how many seconds already."""


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
        tell: Tell | None = None,
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
    def ending(self) -> Iterator[float]:
        """Hold the lane for the end of a server, as for a start-up."""
        with self._held(to_start(self._lane, self._machine), ENDING, "its server") as waited_s:
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
                while (locks := self._tried(holds, doing, case, held, began_ns)) is None:
                    pass
            except OSError as error:
                raise _no_locks(self._folder, error) from error
            yield (self._clock.now_ns() - began_ns) / 1e9
            if doing == MEASURING and not locks.seen_by_others():
                raise _removed(self._folder, case)

    def _tried(
        self, holds: Sequence[Hold], doing: str, case: str, held: ExitStack, began_ns: int
    ) -> _Locks | None:
        """Take all; None where the file was removed meanwhile, so that others lock another one."""
        folder = own_folder(self._folder)
        with ExitStack() as trying:
            trying.enter_context(_kept_from_cleaners(folder))
            forget_the_dead(folder)
            wanted = Holder(pid=os.getpid(), case=case, doing=WAITING, holds=holds)
            note = trying.enter_context(Note(folder, wanted))
            turns = trying.enter_context(_Locks(folder / "turns"))
            locks = trying.enter_context(_Locks(folder / "locks"))
            for hold in holds:
                self._take(turns, locks, hold, folder, began_ns)
            # Once, after the last: who sees this file now cannot have opened another one before.
            if not locks.seen_by_others():
                return None
            note.write(Holder(pid=os.getpid(), case=case, doing=doing, holds=holds))
            held.enter_context(trying.pop_all())
        return locks

    def _take(self, turns: _Locks, locks: _Locks, hold: Hold, folder: Path, began_ns: int) -> None:
        resource = hold.resource
        self._wait(lambda: turns.take(resource, exclusive=True), hold, folder, began_ns)
        self._wait(lambda: locks.take(resource, exclusive=hold.exclusive), hold, folder, began_ns)
        turns.give_back(resource)

    def _wait(self, take: Callable[[], bool], hold: Hold, folder: Path, began_ns: int) -> None:
        tries = 0
        while not take():
            if self._tell is not None and tries % TELL_EVERY == 0:
                self._tell(waiting_text(hold, holders_in(folder)), (self._clock.now_ns() - began_ns) / 1e9)
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


def _removed(folder: Path, case: str) -> LaunchError:
    return LaunchError(
        "this measurement does not count: its lock was removed, so others may have measured beside it",
        where=case,
        seen=f"the file of locks in {folder} is not the one that was locked",
        next_step="have nothing clean that folder while sessions run, or give another with TMPDIR",
    )


@contextmanager
def _kept_from_cleaners(folder: Path) -> Iterator[None]:
    """Keep systemd-tmpfiles out of the folder: it passes by those that have a BSD lock (tmpfiles.d(5))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One that is at work there has it alone; what it removes is seen later.
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


class _Locks:
    """One open file, in which this object locks bytes; closing it gives all of them back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("a+b")
        self._use()

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
        self._use()
        return True

    def seen_by_others(self) -> bool:
        """Return whether who comes now opens this very file."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def give_back(self, resource: Resource) -> None:
        self._ask(fcntl.F_UNLCK, resource.place, 1)

    def _use(self) -> None:
        """Have it look used: cleaners remove what nobody has touched for days."""
        os.utime(self._file.fileno())

    def _ask(self, kind: int, start: int, length: int) -> None:
        asked = struct.pack(_LOCK_LAYOUT, kind, os.SEEK_SET, start, length, 0)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, asked)
