"""Free ports, and whether somebody else got them first."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack

import psutil

LOOPBACK = "127.0.0.1"

PickPorts = Callable[[Sequence[str]], Mapping[str, int]]

_TAKEN = re.compile(r"already in use|EADDRINUSE|errno 98\b", re.IGNORECASE)
"""As Python, uvicorn, Triton, Java and Node word it."""


def free_ports(roles: Sequence[str], host: str = LOOPBACK) -> Mapping[str, int]:
    """Return one port per role that nobody listens on at ``host``; raises OSError.

    All are held at once while they are picked, so they differ. They are free again
    when this returns: somebody else may still come first.
    """
    with ExitStack() as held:
        sockets = {role: held.enter_context(socket.socket()) for role in roles}
        for one in sockets.values():
            one.bind((host, 0))
        return {role: one.getsockname()[1] for role, one in sockets.items()}


def is_taken(port: int, host: str = LOOPBACK) -> bool:
    """Return whether somebody listens on ``port`` of ``host``."""
    with socket.socket() as probe:
        # Connections that linger in TIME_WAIT do not keep a server from binding.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def lost_the_race(log: str, ports: Iterable[int], host: str = LOOPBACK) -> bool:
    """Return whether a server that ended did so because one of its ports was taken."""
    return bool(_TAKEN.search(log)) or any(is_taken(port, host) for port in ports)


def belongs_to(pid: int, port: int) -> bool:
    """Return whether the process tree of ``pid`` listens on ``port``.

    True also where that cannot be seen (a server that changed its user): it is a check
    against a stranger who answers in the server's place, not a right to serve.
    """
    try:
        root = psutil.Process(pid)
        return any(_listens(process, port) for process in (root, *root.children(recursive=True)))
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections if c.laddr)
