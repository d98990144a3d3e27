"""Brings a described server up as a local process, and ends all of it."""

from __future__ import annotations

import contextlib
import errno
import shlex
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.errors import LaunchError, PortTakenError, ServerExitedError, ServerNotReadyError
from pytest_servebench.interfaces import Clock
from pytest_servebench.launchers.guarded import CannotExecuteError, GuardedProcess, stop_all
from pytest_servebench.launchers.ports import LOOPBACK, PickPorts, belongs_to, free_ports, lost_the_race
from pytest_servebench.launchers.readiness import (
    HttpProbe,
    Readiness,
    Stage,
    http_probe,
    wait_until_ready,
)
from pytest_servebench.launchers.workdir import Placeholders, ServerLog, open_log, write_files
from pytest_servebench.plan import LaunchSpec
from pytest_servebench.results import Endpoint

PORT_RETRIES = 3

__all__ = ["ProcessLauncher", "ProcessServer", "stop_all"]


class ProcessServer:
    """A server that runs as a local process under a guardian."""

    def __init__(self, endpoint: Endpoint, process: GuardedProcess, log: ServerLog) -> None:
        self._endpoint = endpoint
        self._process = process
        self._log = log

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        return self._endpoint

    def exit_code(self) -> int | None:
        """Return its exit code when it has ended by itself (negative: by a signal), else None."""
        return self._process.exit_code()

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of its log."""
        return self._log.tail(lines)

    def stop(self) -> None:
        """End it and everything it started, and return when all of it is gone; may be called twice."""
        self._process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One try with one set of ports."""

    stack: str
    spec: LaunchSpec
    workdir: Path
    host: str
    ports: Mapping[str, int]
    argv: tuple[str, ...]
    log: ServerLog

    @property
    def ready_port(self) -> int:
        return self.ports[self.spec.ready.port_role]


class ProcessLauncher:
    """Starts servers on free ports of ``host``, each under a guardian of its own.

    ``pick_ports`` and ``probe`` are there for tests.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        host: str = LOOPBACK,
        pick_ports: PickPorts | None = None,
        probe: HttpProbe = http_probe,
    ) -> None:
        self._clock = clock or MonotonicClock()
        self._host = host
        self._pick_ports = pick_ports or partial(free_ports, host=host)
        self._probe = probe

    def start(self, stack: str, spec: LaunchSpec, workdir: Path) -> ProcessServer:
        """Return a ready server whose private files lie in ``workdir``; raises `LaunchError`.

        A server that loses its port to somebody else is started again on other ports, three
        times at most. When this raises, nothing it started is left; the log stays.
        """
        for _ in range(PORT_RETRIES):
            with contextlib.suppress(PortTakenError):
                return self._start_once(stack, spec, workdir.absolute())
        return self._start_once(stack, spec, workdir.absolute())

    def _start_once(self, stack: str, spec: LaunchSpec, workdir: Path) -> ProcessServer:
        ports = self._ports(spec)
        placeholders = Placeholders.of(workdir, self._host, ports)
        argv = tuple(placeholders.fill(word) for word in spec.argv)
        environment = {key: placeholders.fill(value) for key, value in spec.environment.items()}
        file, log = open_log(spec, workdir, argv)
        attempt = _Attempt(
            stack=stack, spec=spec, workdir=workdir, host=self._host, ports=ports, argv=argv, log=log
        )
        try:
            with file:
                write_files(spec, workdir, placeholders)
                began_ns = self._clock.now_ns()
                process = GuardedProcess(
                    argv, environment=environment, workdir=workdir, log=file, grace_s=spec.stop_grace_s
                )
            return self._guarded(attempt, process, began_ns)
        except CannotExecuteError as error:
            raise _not_executable(attempt, error) from error

    def _ports(self, spec: LaunchSpec) -> Mapping[str, int]:
        try:
            return self._pick_ports(spec.port_roles)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _not_ours(spec, self._host, error) from error
            raise PortTakenError(
                f"{spec.name} cannot be launched: no free port",
                where=f"{self._host}, for {', '.join(spec.port_roles)}",
                seen=str(error),
                next_step="end what holds the ports: ss -tlnp",
            ) from error

    def _guarded(self, attempt: _Attempt, process: GuardedProcess, began_ns: int) -> ProcessServer:
        """Return the ready server, or end all of it and raise; an interrupt included."""
        try:
            readiness = self._wait(attempt, process, began_ns)
            if readiness.stage is Stage.ENDED:
                # First its children: one that still listens would look like somebody else.
                process.stop()
            _raise_unless_ready(attempt, process.pid, readiness)
            process.remember_descendants()
        except BaseException:
            process.stop()
            raise
        return ProcessServer(_endpoint(attempt, process.pid, readiness), process, attempt.log)

    def _wait(self, attempt: _Attempt, process: GuardedProcess, began_ns: int) -> Readiness:
        process.wait_started()
        return wait_until_ready(
            probe=lambda: self._probe(self._host, attempt.ready_port, attempt.spec.ready.path),
            exit_code=process.exit_code,
            deadline_s=attempt.spec.ready.deadline_s,
            clock=self._clock,
            began_ns=began_ns,
        )


def _endpoint(attempt: _Attempt, pid: int, readiness: Readiness) -> Endpoint:
    return Endpoint(
        stack=attempt.stack,
        host=attempt.host,
        ports=dict(attempt.ports),
        launcher="process",
        pid=pid,
        log_path=attempt.log.path,
        started_s=readiness.elapsed_s,
    )


def _raise_unless_ready(attempt: _Attempt, pid: int, readiness: Readiness) -> None:
    if readiness.stage is Stage.TOO_LATE:
        raise _not_ready(attempt, readiness)
    if readiness.exit_code is not None:
        if lost_the_race(attempt.log.tail(), attempt.ports.values(), attempt.host):
            raise _port_taken(attempt, f"it ended with {describe_exit(readiness.exit_code)}")
        raise _exited(attempt, readiness.exit_code)
    if not belongs_to(pid, attempt.ready_port):
        raise _port_taken(attempt, f"somebody else answers on port {attempt.ready_port}")


def describe_exit(code: int) -> str:
    """Return an exit code in words, e.g. ``exit code 3`` or ``signal SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _with_log(seen: str, attempt: _Attempt) -> str:
    tail = attempt.log.tail() or "(it wrote nothing)"
    return "\n    ".join([f"{seen}; the last lines of its log:", *tail.splitlines()])


def _exited(attempt: _Attempt, code: int) -> ServerExitedError:
    return ServerExitedError(
        f"{attempt.spec.name} ended by itself with {describe_exit(code)} before it was ready",
        exit_code=code,
        where=f"log {attempt.log.path}",
        seen=_with_log("it ended", attempt),
        next_step=f"read its log; to try by hand, in {attempt.workdir}: {shlex.join(attempt.argv)}",
    )


def _not_ready(attempt: _Attempt, readiness: Readiness) -> ServerNotReadyError:
    ready = attempt.spec.ready
    return ServerNotReadyError(
        f"{attempt.spec.name} was not ready after {ready.deadline_s:g} s and was ended",
        where=f"GET http://{attempt.host}:{attempt.ready_port}{ready.path}; log {attempt.log.path}",
        seen=_with_log(f"last answer: {readiness.last_answer}", attempt),
        next_step="read its log; a slow machine may need a later deadline",
    )


def _port_taken(attempt: _Attempt, seen: str) -> PortTakenError:
    ports = ", ".join(f"{role} {port}" for role, port in attempt.ports.items())
    return PortTakenError(
        f"{attempt.spec.name} lost its port to somebody else, also on new ports",
        where=f"{attempt.host}, ports {ports}; log {attempt.log.path}",
        seen=_with_log(seen, attempt),
        next_step="find who listens: ss -tlnp",
    )


def _not_ours(spec: LaunchSpec, host: str, error: OSError) -> LaunchError:
    return LaunchError(
        f"{spec.name} cannot be launched: {host} is no address of this machine",
        where=host,
        seen=str(error),
        next_step="give one that it has with --serve-host: ip -brief address shows them",
    )


def _not_executable(attempt: _Attempt, error: CannotExecuteError) -> LaunchError:
    return LaunchError(
        f"{attempt.spec.name} cannot be launched: {attempt.argv[0]!r} cannot be executed",
        where=f"folder {attempt.workdir}, log {attempt.log.path}",
        seen=str(error),
        next_step="install it, or put its folder on PATH",
    )
