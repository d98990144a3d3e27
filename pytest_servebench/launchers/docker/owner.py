"""Whose a container is: written into its labels, read from them, and when it is nobody's any more."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

RUN = "servebench.run"
WORKER = "servebench.worker"
STACK = "servebench.stack"
PID = "servebench.pid"
STARTED = "servebench.started"
HOST = "servebench.host"
BOOT = "servebench.boot"
PID_NAMESPACE = "servebench.pidns"
NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
"""A number as we write it; anything else in its place was not written by us."""

Lives = Callable[[int, int], bool]
"""Whether the process of this id that began at this tick still runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that starts containers, so exactly that no other is taken for it."""

    run: str
    """The same for a session and all its pytest-xdist workers."""
    worker: str = ""
    """Which of them it is, as in ``gw0``; empty: none."""
    pid: int
    started_ticks: int
    """When it began, in clock ticks since the machine booted: with it, a process id is never mistaken for
    that of an earlier process. Not in seconds since 1970, which move when a clock is set."""
    host: str
    boot: str
    """The kernel's id of this boot of the machine."""
    pid_namespace: str
    """Within which ``pid`` means something; unique among those that live on one machine."""


def labels_of(owner: Owner, stack: str) -> dict[str, str]:
    """Return the labels of a container that ``owner`` starts for ``stack``."""
    return {
        RUN: owner.run,
        WORKER: owner.worker,
        STACK: stack,
        PID: str(owner.pid),
        STARTED: str(owner.started_ticks),
        HOST: owner.host,
        BOOT: owner.boot,
        PID_NAMESPACE: owner.pid_namespace,
    }


def owner_of(labels: Mapping[str, str]) -> Owner | None:
    """Return whose container has these labels; None where they do not say it all."""
    words = [labels.get(key, "") for key in (RUN, HOST, BOOT, PID_NAMESPACE)]
    numbers = [labels.get(key, "") for key in (PID, STARTED)]
    if not all(words) or not all(NUMBER.fullmatch(number) for number in numbers):
        return None
    run, host, boot, pid_namespace = words
    pid, started_ticks = map(int, numbers)
    return Owner(
        run=run,
        worker=labels.get(WORKER, ""),
        pid=pid,
        started_ticks=started_ticks,
        host=host,
        boot=boot,
        pid_namespace=pid_namespace,
    )


def is_leftover(labels: Mapping[str, str], here: Owner, lives: Lives, *, ended: bool) -> bool:
    """Return whether the container's owner is surely gone, as seen from the process ``here``.

    ``ended``: the container ran and does so no more. Several machines and containers may share an
    engine: of an owner on another host or among other processes nothing is known, so it lives.
    """
    owner = owner_of(labels)
    if owner is None or owner.host != here.host or not here.boot:
        return False
    if owner.boot != here.boot:
        # This machine before it was rebooted, or another one of the same name, whose container still runs.
        return ended
    return owner.pid_namespace == here.pid_namespace and not lives(owner.pid, owner.started_ticks)


def this_process(run: str, worker: str = "") -> Owner:
    """Return this process as an owner; what cannot be read is empty, and then nobody judges it dead."""
    try:
        _, started_ticks = _stat("self")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        pid_namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        started_ticks, boot, pid_namespace = 0, "", ""
    return Owner(
        run=run,
        worker=worker,
        pid=os.getpid(),
        started_ticks=started_ticks,
        host=socket.gethostname(),
        boot=boot,
        pid_namespace=pid_namespace,
    )


def lives(pid: int, started_ticks: int) -> bool:
    """Return whether the process that began then still runs; one that may not be looked at does."""
    try:
        state, ticks = _stat(str(pid))
    except OSError:
        return _is_hidden(pid)
    # A zombie has ended, and its parent has not taken note of it.
    return ticks == started_ticks and state not in {"Z", "X"}


def _stat(process: str) -> tuple[str, int]:
    """Return a process's state and when it began, in ticks; raises `OSError` (proc(5), fields 3 and 22)."""
    # Its name, the second field, stands in brackets and may hold anything.
    fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[19])


def _is_hidden(pid: int) -> bool:
    """Return whether there is such a process although /proc does not show it (its mount option hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
