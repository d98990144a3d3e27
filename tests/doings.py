"""Notices what code does to the world, by Python's audit events: files written, processes, sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ACTS = (
    "os.chmod",
    "os.exec",
    "os.fork",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.system",
    "shutil.copyfile",
    "socket.__new__",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
)


class _Notes:
    listening = False
    seen: list[str] = []  # noqa: RUF012 (one for the process: an audit hook cannot be taken out again)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _Notes.listening:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
    if writes or event in _ACTS:
        _Notes.seen.append(f"{event} {arguments[0]!r}")


sys.addaudithook(_hook)


@contextmanager
def doings() -> Iterator[list[str]]:
    """Return a list that fills with what is done inside the context."""
    _Notes.seen = []
    _Notes.listening = True
    try:
        yield _Notes.seen
    finally:
        _Notes.listening = False
