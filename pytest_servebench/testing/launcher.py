"""A launcher that starts nothing, for tests of what calls launchers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pytest_servebench.errors import ServerExitedError, ServerNotReadyError
from pytest_servebench.plan import LaunchSpec
from pytest_servebench.results import Endpoint

_FIRST_PORT = 40001


@dataclass(slots=True)
class FakeServer:
    """A server that lives until it is stopped or told to `die`."""

    endpoint: Endpoint
    log: str = ""
    stopped: bool = False
    _exit_code: int | None = field(default=None, init=False)

    def exit_code(self) -> int | None:
        """Return the code it was told to die with, else None."""
        return self._exit_code

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of ``log``."""
        return "\n".join(self.log.splitlines()[-lines:]) if lines > 0 else ""

    def die(self, exit_code: int, last_words: str = "") -> None:
        """End by itself, as a server does that crashes in the middle of a load."""
        self.log += last_words
        if not self.stopped:
            self._exit_code = exit_code

    def stop(self) -> None:
        """End it; may be called twice."""
        self.stopped = True


@dataclass(slots=True, kw_only=True)
class FakeLauncher:
    """Hands out `FakeServer` objects, or fails the way a real launcher does.

    Its endpoints name ports on which nobody listens. Every start is kept in ``specs``,
    every server in ``servers``.
    """

    exits_with: int | None = None
    """Each server ends by itself with this code before it is ready."""
    never_ready: bool = False
    """Each server is still not ready at its deadline."""
    log: str = "serving\n"
    started_s: float = 1.0
    pid: int | None = None
    specs: list[LaunchSpec] = field(default_factory=list)
    servers: list[FakeServer] = field(default_factory=list)

    @property
    def running(self) -> tuple[FakeServer, ...]:
        """Servers that were neither stopped nor died."""
        return tuple(one for one in self.servers if not one.stopped and one.exit_code() is None)

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> FakeServer:
        """Return a server at once; raises `ServerExitedError` or `ServerNotReadyError` when told to."""
        del workdir
        self.specs.append(spec)
        if self.exits_with is not None:
            raise ServerExitedError(
                f"{spec.name} ended by itself with exit code {self.exits_with} before it was ready",
                exit_code=self.exits_with,
                where="a fake launcher",
                seen=self.log,
                next_step="leave exits_with away",
            )
        if self.never_ready:
            raise ServerNotReadyError(
                f"{spec.name} was not ready after {spec.ready.deadline_s:g} s and was ended",
                where="a fake launcher",
                seen=self.log,
                next_step="leave never_ready away",
            )
        server = FakeServer(self._endpoint(stack, spec), self.log)
        self.servers.append(server)
        return server

    def _endpoint(self, stack: str, spec: LaunchSpec) -> Endpoint:
        first = _FIRST_PORT + 10 * len(self.servers)
        ports = {role: first + i for i, role in enumerate(spec.port_roles)}
        return Endpoint(
            stack=stack,
            host="127.0.0.1",
            ports=ports,
            launcher="fake",
            pid=self.pid,
            started_s=self.started_s,
        )
