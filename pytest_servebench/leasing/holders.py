"""Notes beside the locks: which process holds or wants which resource, for whom; told to those who wait.

A note is locked by its writer for as long as that lives: one that can be locked is left over from a
process that died, and is removed by whoever finds it. Nothing is decided by notes.
"""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_servebench.leasing.lanes import Hold, Resource

SUFFIX = ".holder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What one process says of itself."""

    pid: int
    case: str
    """The id of the case that it is about, or what else it is about."""
    doing: str
    """A verb: ``starts``, ``ends``, ``measures`` or ``waits``."""
    holds: Sequence[Hold]
    """What it holds, or wants."""


class Note:
    """One process's note, there until the block ends."""

    def __init__(self, folder: Path, holder: Holder) -> None:
        self._path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        self._file = self._path.open("xb", buffering=0)
        # A reader that looks whether we live has it for an instant.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.write(holder)

    def __enter__(self) -> Note:  # noqa: PYI034 (typing.Self is 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()

    def write(self, holder: Holder) -> None:
        """Put ``holder`` in the place of what was said before."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(_text(holder).encode())


def holders_in(folder: Path) -> tuple[Holder, ...]:
    """Return what the living say; a note that is being written is left out."""
    return tuple(holder for path in _living(folder) for holder in _read(path))


def forget_the_dead(folder: Path) -> None:
    """Remove the notes of processes that died without doing so."""
    for _ in _living(folder):
        pass


def _living(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield path
            else:
                path.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[Holder]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(path.read_text(encoding="utf-8"))
        holds = [Hold(Resource(place, name), exclusive) for place, name, exclusive in said["holds"]]
        yield Holder(pid=said["pid"], case=said["case"], doing=said["doing"], holds=tuple(holds))


def _text(holder: Holder) -> str:
    holds = [(one.resource.place, one.resource.name, one.exclusive) for one in holder.holds]
    return json.dumps({"pid": holder.pid, "case": holder.case, "doing": holder.doing, "holds": holds})
