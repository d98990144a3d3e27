"""Uses a server that already runs, and never ends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import LaunchError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.readiness import HttpProbe, Stage, http_probe, wait_until_ready
from pytest_servebench.launchers.server_address import parse_address
from pytest_servebench.plan import LaunchSpec
from pytest_servebench.results import Endpoint


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
