"""Files in memory only, for another process to open by name: nothing is left when this one is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from types import TracebackType
from typing import final

PIPE_BYTES = 1 << 20


@final
class MemoryFiles:
    """A context manager; a file can be opened under its name from entering to leaving.

    Names are those of this process's descriptors in /proc, see memfd_create(2) and proc(5).
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def __enter__(self) -> MemoryFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def add(self, data: bytes = b"") -> str:
        """Return the name of a new file that holds ``data``."""
        descriptor = os.memfd_create("servebench", os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return _name(descriptor)

    def pipe(self) -> tuple[int, str]:
        """Return a descriptor to read from without waiting, and the name to write to."""
        reading, writing = os.pipe()
        self._descriptors += [reading, writing]
        os.set_blocking(reading, False)
        # A user may have used up what he is allowed.
        with contextlib.suppress(OSError):
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return reading, _name(writing)


def _name(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"
