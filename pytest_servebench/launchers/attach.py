"""Uses a server that already runs, and never ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import LaunchError, PlanError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.readiness import HttpProbe, Stage, http_probe, wait_until_ready
from pytest_servebench.plan import LaunchSpec
from pytest_servebench.results import Endpoint

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


def _wrong(url: str, seen: str) -> PlanError:
    return PlanError(
        f"{url!r} is not the address of a server to attach to",
        seen=seen,
        next_step=f"allowed: {_ALLOWED}",
    )


class AttachedServer:
    """A server that somebody else runs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self._endpoint

    def exit_code(self) -> int | None:
        """Return None: how it ends is not ours to see."""
        return None

    def log_tail(self, lines: int = 20) -> str:
        """Return nothing: its log is not ours to read."""
        del lines
        return ""

    def stop(self) -> None:
        """Leave it running."""


class AttachLauncher:
    """Attaches to the server at ``url``, given as `parse_address` reads it.

    ``default_ports`` are those of roles that the URL does not name. Roles of the spec for which
    neither knows a port are absent from the endpoint, except that of the ready check.
    """

    def __init__(
        self,
        url: str,
        *,
        default_ports: Mapping[str, int] | None = None,
        deadline_s: float = 10.0,
        clock: Clock | None = None,
        probe: HttpProbe = http_probe,
    ) -> None:
        self._url = url
        self._address = parse_address(url)
        self._default_ports = dict(default_ports or {})
        self._deadline_s = deadline_s
        self._clock = clock or MonotonicClock()
        self._probe = probe

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> AttachedServer:
        """Return the server once it answers its ready path; raises `LaunchError`.

        Nothing is started and nothing is written to ``workdir``.
        """
        del workdir
        ports = {**self._default_ports, **self._address.ports}
        if spec.ready.port_role not in ports:
            raise self._no_port(stack, spec.ready.port_role)
        host, port, path = self._address.host, ports[spec.ready.port_role], spec.ready.path
        readiness = wait_until_ready(
            probe=lambda: self._probe(host, port, path),
            exit_code=lambda: None,
            deadline_s=self._deadline_s,
            clock=self._clock,
        )
        if readiness.stage is not Stage.READY:
            raise LaunchError(
                f"no {stack} server is ready at {self._url}",
                where=f"GET http://{host}:{port}{path}",
                seen=f"last answer after {self._deadline_s:g} s: {readiness.last_answer}",
                next_step=f"start it, or leave the address away (--stack={stack}) to have one launched",
            )
        return AttachedServer(Endpoint(stack=stack, host=host, ports=ports, launcher="attach"))

    def _no_port(self, stack: str, role: str) -> LaunchError:
        return LaunchError(
            f"the {role} port of the {stack} server is not known, and its readiness is asked there",
            where=self._url,
            seen=f"ports {dict(self._address.ports)}",
            next_step=f"name it in the address: {self._url}{'&' if '?' in self._url else '?'}{role}=PORT",
        )
