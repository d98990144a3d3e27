"""The address of a server that already runs, as a user writes it: ``http://HOST:8000?grpc=8001`` (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

from pytest_servebench.errors import PlanError

_HTTP_PORT = 80
_ALLOWED = "http://HOST:PORT, other ports as a query: http://HOST:8000?grpc=8001&metrics=8002"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a host and a port per role."""

    host: str
    ports: Mapping[str, int]


def parse_address(url: str) -> Address:
    """Return the address in ``url``; its port is the role ``http``, its query names further roles.

    Raises `PlanError` that says what is allowed.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        extra = {role: int(text) for role, text in parse_qsl(parts.query, strict_parsing=bool(parts.query))}
    except ValueError as error:
        raise _wrong(url, str(error)) from error
    for reason, fault in (
        (f"scheme {parts.scheme!r}", parts.scheme != "http"),
        ("no host", not parts.hostname),
        ("a name that no host can have", not _can_be_named(parts.hostname or "")),
        ("an IPv6 address", ":" in (parts.hostname or "")),
        ("a user name or password", "@" in parts.netloc),
        (f"the path {parts.path!r}", parts.path not in {"", "/"}),
        ("a fragment", bool(parts.fragment)),
        ("a port outside 1..65535", any(not 0 < one < 2**16 for one in (*extra.values(), port or 1))),
        ("the port 0", port == 0),
        ("the role http twice", "http" in extra),
    ):
        if fault:
            raise _wrong(url, reason)
    return Address(parts.hostname or "", {"http": port or _HTTP_PORT, **extra})


def is_here(host: str) -> bool:
    """Return whether a host's name or address can only mean this machine: its own loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _can_be_named(host: str) -> bool:
    """Return whether the name can be looked up: its parts have 1 to 63 characters."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _wrong(url: str, seen: str) -> PlanError:
    return PlanError(
        f"{url!r} is not the address of a server to attach to",
        seen=seen,
        next_step=f"allowed: {_ALLOWED}",
    )
