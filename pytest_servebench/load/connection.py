"""One slot of a load: a non-blocking socket, and which request is on its way over it."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pytest_servebench.errors import LoadError
from pytest_servebench.results import Endpoint

WATCHED = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
BUFFER_BYTES = 16384
"""Most replies fit; a larger buffer costs each of them more than it saves the few others."""

Sendable: TypeAlias = "bytes | bytearray | memoryview"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect: what `socket.getaddrinfo` found."""

    family: int
    sockaddr: tuple[Any, ...]
    authority: str


def authority_of(endpoint: Endpoint, role: str) -> str:
    """Return ``host:port`` of a role, an IPv6 host in brackets; raises `LoadError` without such a port."""
    if role not in endpoint.ports:
        raise LoadError(
            f"The server has no {role} port.",
            where=f"{endpoint.stack} on {endpoint.host}",
            seen=", ".join(f"{name}={port}" for name, port in endpoint.ports.items()) or "no ports",
            next_step=f"launch the stack with a {role} port, or choose another protocol",
        )
    host, port = endpoint.host, endpoint.ports[role]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(endpoint: Endpoint, role: str, timeout_s: float) -> Address:
    """Return the first address of the host that accepts a connection, else the first; raises `LoadError`."""
    authority = authority_of(endpoint, role)
    host, port = endpoint.host, endpoint.ports[role]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LoadError(
            "The address of the server cannot be found.",
            where=authority,
            seen=str(error),
            next_step="check the host name",
        ) from error
    addresses = [Address(family, sockaddr, authority) for family, _, _, _, sockaddr in found]
    if len(addresses) == 1:
        return addresses[0]
    return next((address for address in addresses if _accepts(address, timeout_s)), addresses[0])


def _accepts(address: Address, timeout_s: float) -> bool:
    with socket.socket(address.family, socket.SOCK_STREAM) as trial:
        trial.settimeout(timeout_s)
        return trial.connect_ex(address.sockaddr) == 0


def open_socket(address: Address) -> socket.socket:
    """Return a socket that connects without blocking; raises `LoadError` when there is none to be had."""
    try:
        opened = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError as error:
        raise LoadError(
            "No socket can be opened for the load.",
            where=address.authority,
            seen=error_text(error),
            next_step="lower the concurrency (open loop: --serve-max-in-flight), "
            "or raise the limit of open files (ulimit -n)",
        ) from error
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    failure = opened.connect_ex(address.sockaddr)
    if failure not in {0, errno.EINPROGRESS}:
        opened.close()
        raise OSError(failure, os.strerror(failure))
    return opened


def error_text(error: OSError) -> str:
    """Return an operating system's error in words, e.g. ``Connection refused (ECONNREFUSED)``."""
    if error.errno is None:
        return str(error)
    return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"


class Connection:
    """Holds its socket open from request to request; `send` on a closed one connects first."""

    __slots__ = (
        "_address", "_poller", "_slots", "busy", "descriptor", "index", "intended_ns", "recv", "resume_ns",
        "send", "sent_ns", "socket",
    )  # fmt: skip

    def __init__(self, address: Address, poller: select.epoll, slots: dict[int, Any]) -> None:
        self._address = address
        self._poller = poller
        self._slots = slots
        self.socket: socket.socket | None = None
        self.descriptor = -1
        self.send: Callable[[Sendable], int] = self._connect_and_send
        self.recv: Callable[[int], bytes] = _nothing_to_receive
        self.busy = False
        """Whether a request is on its way."""
        self.index = 0
        self.intended_ns = -1
        """When its request was to begin; -1: when it was sent."""
        self.sent_ns = 0
        self.resume_ns = 0
        """When a slot that failed tries again."""

    def close(self) -> None:
        """Close the socket; the next `send` opens another."""
        if self.socket is not None:
            self._slots.pop(self.descriptor, None)
            self.socket.close()
        self.socket = None
        self.descriptor = -1
        self.send = self._connect_and_send
        self.recv = _nothing_to_receive

    def connect(self) -> socket.socket:
        """Begin to connect and have the poller watch it; raises OSError, or `LoadError` without a socket."""
        self.socket = open_socket(self._address)
        self.descriptor = self.socket.fileno()
        self._slots[self.descriptor] = self
        self._poller.register(self.descriptor, WATCHED)
        self.send = self.socket.send
        self.recv = self.socket.recv
        return self.socket

    def _connect_and_send(self, data: Sendable) -> int:
        return self.connect().send(data)


def _nothing_to_receive(_size: int) -> bytes:
    raise BlockingIOError
